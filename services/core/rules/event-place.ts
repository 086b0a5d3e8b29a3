/** Where an event stands, for messages and for what rules may know of it beside its row. */
export interface EventPlace {
  readonly place: string;
  /** Its transaction's commit, microseconds since 1970; of a snapshot's row when it was read. Absent where nobody can say. */
  readonly time?: bigint;
}
