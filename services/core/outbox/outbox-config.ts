/** A table whose new rows are events for other consumers: the options of Debezium's EventRouter, by their meaning. */
export interface OutboxConfig {
  readonly idField: string;
  readonly keyField: string;
  readonly payloadField: string;
  readonly routeField: string;
  /** RE2: what of that column's whole value its group `routedByValue` is; null for all of it. */
  readonly topicRegex: string | null;
  /** With `${routedByValue}`, behind a part of its own. */
  readonly topicReplacement: string;
  readonly placements: readonly Placement[];
  readonly tombstoneOnEmptyPayload: boolean;
  /** A payload that is a JSON object or array stands in the envelope as such, not as a text. */
  readonly expandJson: boolean;
  /** What an UPDATE of the table is. */
  readonly invalidOp: 'warn' | 'error' | 'fatal';
  readonly maxTopics: number;
}

/** Another column's value beside the payload. */
export interface Placement {
  readonly field: string;
  readonly at: 'header' | 'envelope';
  readonly alias: string;
}

export const ROUTED_BY = '${routedByValue}';
/** As RE2 and Java name it. */
export const ROUTED_GROUP = 'routedByValue';

/** Debezium's text: `field:header`, `field:envelope:alias`, several with commas. null where it is not that. */
export function parsePlacements(text: string): Placement[] | null {
  const placements: Placement[] = [];
  for (const part of text.split(',')) {
    const [field = '', at, alias = field, ...others] = part.split(':').map((one) => one.trim());
    if (field === '' || alias === '' || others.length > 0 || (at !== 'header' && at !== 'envelope')) return null;
    placements.push({ field, at, alias });
  }
  return placements;
}
