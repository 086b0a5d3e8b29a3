import { parseLetterCommand, type LetterCommand, type LetterGate, type LetterOutcome } from '#core/letter-command.ts';

/** The commands that reach one transformer. A record that is not of the known form is as none. */
export class LetterCommands implements LetterGate {
  readonly #answer: (id: string, outcomes: readonly LetterOutcome[]) => Promise<void>;
  readonly #commands = new Map<string, LetterCommand>();
  #change = new AbortController();

  /** `answer` writes what became of a command, then its tombstone. */
  constructor(answer: (id: string, outcomes: readonly LetterOutcome[]) => Promise<void>) {
    this.#answer = answer;
  }

  get commands(): readonly LetterCommand[] {
    return [...this.#commands.values()];
  }

  get changed(): AbortSignal {
    return this.#change.signal;
  }

  async done(id: string, outcomes: readonly LetterOutcome[]): Promise<void> {
    await this.#answer(id, outcomes);
    this.#commands.delete(id);
  }

  /** A record of the control topic; null is its tombstone. */
  take(id: string, value: Buffer | null): void {
    const command = parseLetterCommand(id, value);
    if (command === null) {
      this.#commands.delete(id);
      return;
    }
    this.#commands.set(id, command);
    const change = this.#change;
    this.#change = new AbortController();
    change.abort();
  }
}
