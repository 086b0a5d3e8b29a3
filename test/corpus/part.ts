/** A piece of the corpus: tables, the rows that the snapshot finds, and what happens to them while the stream is followed. */
export interface CorpusPart {
  /** DDL at the source. */
  readonly tables: string;
  /** Before the pipeline starts. */
  readonly rows: string;
  /** Once it streams; each text is one simple query, so one transaction unless it says otherwise. */
  readonly changes: readonly string[];
}
