import type { Image } from '#core/change.ts';
import type { Row } from '#core/envelope.ts';

/** What is remembered of a row of a captured table, by its topic and its key's text (keyText); null where there is no such row. */
export type ReadRow = (topic: string, key: string) => Row | null;

/** Where an event stands, for messages and for what rules may know of it beside its row. */
export interface EventPlace {
  readonly place: string;
  /** Its transaction's commit, microseconds since 1970; of a snapshot's row when it was read. Absent where nobody can say. */
  readonly time?: bigint;
  /** As it is at the event. Absent: rules that look up rows fail. */
  readonly lookUp?: ReadRow;
  /** The looked up rows by their names in the rule; null where there is none. */
  readonly rows?: ReadonlyMap<string, Image | null>;
}
