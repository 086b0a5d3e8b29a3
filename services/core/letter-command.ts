import * as z from 'zod';

/** What `restage dlq` asks of the transformer that alone writes to its output. It stays on `<name>.control` until it is done. */
export interface LetterCommand {
  readonly id: string;
  readonly action: 'retry' | 'drop';
  /** null: all that wait (retry). */
  readonly ids: readonly string[] | null;
  /** retry: other values for the rows of these letters, PostgreSQL's text by column of the source. */
  readonly set: Readonly<Record<string, string | null>>;
  /** For the audit. */
  readonly reason: string;
  /** drop: what waits behind is dropped too, or may be retried by itself. */
  readonly behind: 'free' | 'drop';
  /** retry: say what would come of it. */
  readonly isDryRun: boolean;
}

/** What became of a letter that a command touched. */
export interface LetterOutcome {
  readonly id: string;
  readonly state: 'retried' | 'waiting' | 'dropped' | 'freed';
  /** Why it still waits; '' otherwise. */
  readonly code: string;
  readonly error: string;
}

/** Commands for one transformer, obeyed between epochs. */
export interface LetterGate {
  /** In the order in which they came. */
  readonly commands: readonly LetterCommand[];
  /** Aborts when the next one comes; from then on it is another signal. */
  readonly changed: AbortSignal;
  /** Says what became of it, and forgets it for good. To be told twice is nothing new. */
  done(id: string, outcomes: readonly LetterOutcome[]): Promise<void>;
}

const commandSchema = z.object({
  action: z.enum(['retry', 'drop']),
  ids: z.array(z.string()).nullable(),
  set: z.record(z.string(), z.string().nullable()),
  reason: z.string(),
  behind: z.enum(['free', 'drop']),
  isDryRun: z.boolean(),
});
const outcomeSchema = z.array(
  z.object({
    id: z.string(),
    state: z.enum(['retried', 'waiting', 'dropped', 'freed']),
    code: z.string(),
    error: z.string(),
  }),
);

/** One record a command; a tombstone once it is done. */
export function letterCommandKey(output: string, id: string): string {
  return `${letterCommandPrefix(output)}${id}`;
}

/** `output` is the transformer's instance. */
export function letterCommandPrefix(output: string): string {
  return `letters/${output}/`;
}

/** The answer to a command, under its own key. */
export function letterAnswerKey(id: string): string {
  return `answer/${id}`;
}

export function writeLetterCommand({ id: _id, ...command }: LetterCommand): string {
  return JSON.stringify(command);
}

/** null for a record that is not of the known form. */
export function parseLetterCommand(id: string, value: Buffer | null): LetterCommand | null {
  try {
    return { id, ...commandSchema.parse(JSON.parse(value?.toString('utf8') ?? 'null')) };
  } catch {
    return null;
  }
}

/** null for a record that is not of the known form. */
export function parseLetterOutcomes(value: Buffer | null): LetterOutcome[] | null {
  try {
    return outcomeSchema.parse(JSON.parse(value?.toString('utf8') ?? 'null'));
  } catch {
    return null;
  }
}
