import { isPostgresUrl } from '#core/address.ts';
import { RestageError } from '#core/errors.ts';
import type { CloneDriver, CloneProbe } from '#core/rehearsal/clone-driver.ts';
import type { RehearsalConfig } from '#core/rehearsal/rehearsal-config.ts';
import { runShell, type ShellResult } from './run-shell.ts';

const LIMIT_MS = 3_600_000;

/** Somebody else's clones: a branch of Neon or DBLab, a volume's snapshot. What they cost only they know. */
export class CommandClone implements CloneDriver {
  readonly kind = 'command';
  readonly #command: NonNullable<RehearsalConfig['command']>;
  readonly #baseline: string | null;
  readonly #signal: AbortSignal;

  constructor(command: NonNullable<RehearsalConfig['command']>, baseline: string | null, signal: AbortSignal) {
    this.#command = command;
    this.#baseline = baseline;
    this.#signal = signal;
  }

  probe(): Promise<CloneProbe> {
    return Promise.resolve({ can: true, bytes: null, seconds: null });
  }

  async create(name: string): Promise<string> {
    const { output } = await this.#run('rehearsal.command.create', this.#command.create, name);
    const url = output.trimEnd().split('\n').at(-1)?.trim() ?? '';
    // What it printed instead may hold a password.
    if (!isPostgresUrl(url))
      throw new RestageError('clone_refused', 'the last line that the command printed is no URL of a database', {
        where: 'rehearsal.command.create',
        fix: 'let its last line on standard output be postgresql://user:password@host:5432/database',
      });
    return url;
  }

  async drop(name: string): Promise<void> {
    await this.#run('rehearsal.command.drop', this.#command.drop, name);
  }

  async #run(where: string, command: string, name: string): Promise<ShellResult> {
    const env = { RESTAGE_CLONE: name, ...(this.#baseline === null ? {} : { RESTAGE_BASELINE: this.#baseline }) };
    const result = await runShell(command, env, { limitMs: LIMIT_MS, signal: this.#signal });
    if (result.code === 0) return result;
    const why = result.isLate
      ? `not done after ${LIMIT_MS / 1000} s`
      : (result.complaint.trim().split('\n').at(-1) ?? '');
    throw new RestageError('clone_refused', `the command failed (${result.code ?? 'killed'}): ${why}`, {
      where,
      fix: 'run it by hand with RESTAGE_CLONE set, and mend what it says',
    });
  }
}
