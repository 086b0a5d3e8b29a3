/** What became of a transformer's dead letter, as a record of the audit topic. */
export interface LetterAudit {
  /** The dead letter. */
  readonly id: string;
  readonly output: string;
  readonly action: 'retried' | 'kept' | 'dropped';
  /** Why: a person's words, what a retry met, or what ended it by itself. */
  readonly reason: string;
  /** Columns that were given other values for the retry; masked ones without theirs. */
  readonly set: Readonly<Record<string, string | null>>;
  /** The command that asked for it; null where nobody did. */
  readonly command: string | null;
  /** ISO 8601. */
  readonly at: string;
}
