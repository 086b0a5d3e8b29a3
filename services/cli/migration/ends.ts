import type { Config, TargetConfig } from '#core/config.ts';
import { otherSide, type Side } from '#core/migration/journal.ts';
import type { WayBack } from '#core/migration/way-back.ts';
import type { TableName } from '#core/table-name.ts';

/** A pipeline and the target of it that is meant. */
export interface Line {
  readonly config: Config;
  readonly target: TargetConfig;
}

/** A migration's two databases and what runs between them. */
export interface Migration {
  readonly there: Line;
  readonly back: Line & Pick<WayBack, 'lost'>;
  /** By side, what guards, terms and marks of this migration are called there. */
  readonly keys: Readonly<Record<Side, string>>;
  /** By side, the tables that move. */
  readonly tables: Readonly<Record<Side, readonly TableName[]>>;
}

/** A switch from X to Y. */
export interface Ends {
  readonly from: Side;
  readonly to: Side;
  /** Feeds Y from X. */
  readonly feeding: Line;
  /** Feeds X from Y once Y is live. */
  readonly returning: Line;
}

export function endsOf({ there, back }: Migration, to: Side): Ends {
  const [feeding, returning] = to === 'target' ? [there, back] : [back, there];
  return { from: otherSide(to), to, feeding, returning };
}

export function urlOf({ there }: Migration, side: Side): string {
  return side === 'source' ? there.config.source.url : there.target.url;
}
