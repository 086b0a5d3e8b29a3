import type { PauseGate } from '#core/control.ts';
import type { ManifestDraft } from '#core/epoch-writer.ts';
import { RestageError } from '#core/errors.ts';
import type { LetterGate } from '#core/letter-command.ts';
import { parseLsn, type Lsn } from '#core/lsn.ts';
import type { StoredManifest } from '#core/manifest.ts';
import type { LetterEpoch, LetterPlace, LetterWork } from './letter-work.ts';

export interface LetterDeskOptions {
  readonly letters: LetterGate;
  readonly gate: PauseGate;
  readonly work: LetterWork;
  /** The output's last manifest, where the stream is passed on; null while a load is. */
  readonly last: () => StoredManifest | null;
  /** Of the output's tables: what committed before them is in their snapshots. */
  readonly snapshots: () => Iterable<Lsn>;
  readonly publish: (draft: ManifestDraft, epoch: LetterEpoch) => Promise<void>;
}

/** More ordinals than one epoch of letters takes. */
const ORDINALS_AN_EPOCH = 2 ** 20;

/** Takes commands for dead letters between epochs of the stream, once the stream has passed every snapshot. */
export class LetterDesk {
  readonly #options: LetterDeskOptions;

  constructor(options: LetterDeskOptions) {
    this.#options = options;
  }

  async obey(signal: AbortSignal): Promise<void> {
    const { letters, gate, work } = this.#options;
    if (letters.commands.length === 0) return;
    await gate.whenRunning(signal);
    for (const command of letters.commands) {
      if (signal.aborted || this.#find() === null) return;
      const outcomes = await work.obey(
        command,
        () => this.#place(),
        (epoch) => this.#write(epoch),
        signal,
      );
      if (!signal.aborted) await letters.done(command.id, outcomes);
    }
  }

  /** What the stream has reached: a sink takes there what committed at no earlier LSN. null where nothing may come in between. */
  #find(): LetterPlace | null {
    const last = this.#options.last();
    if (last === null || !last.manifest.last) return null;
    const { kind, through } = last.manifest;
    if (kind !== 'stream' && kind !== 'empty') return null;
    const commit = parseLsn(through);
    for (const snapshot of this.#options.snapshots()) if (snapshot > commit) return null;
    return { manifest: last.manifest, commit, ordinal: (Number(last.offset) + 1) * ORDINALS_AN_EPOCH };
  }

  #place(): LetterPlace {
    const place = this.#find();
    if (place === null) throw new RestageError('bug', 'a dead letter has no place in the stream');
    return place;
  }

  /** It covers no raw manifest: the next life goes on where this one would have. */
  #write(epoch: LetterEpoch): Promise<void> {
    const { manifest } = this.#place();
    const { ranges: _ranges, format: _format, total: _total, control: _control, ...rest } = manifest;
    const reached = { ...rest, kind: epoch.kind, part: rest.part + 1, control: [] };
    const { through } = manifest;
    return this.#options.publish(
      epoch.kind === 'empty' ? reached : { ...reached, firstCommit: through, lastCommit: through },
      epoch,
    );
  }
}
