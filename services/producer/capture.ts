import { decodePgoutput } from '#adapters/postgres/source/pgoutput-decoder.ts';
import type { PgoutputMessage } from '#adapters/postgres/source/pgoutput-message.ts';
import type { ReplicationFrame, ReplicationStream } from '#adapters/postgres/source/replication-stream.ts';
import type { BoundedQueue } from '#core/bounded-queue.ts';
import type { EpochConfig } from '#core/config.ts';
import type { PauseGate } from '#core/control.ts';
import type { Lsn } from '#core/lsn.ts';
import type { Notifier } from '#core/notifier.ts';
import type { ChangeAssembler } from './change-assembler.ts';
import type { RelationBook } from './relation-book.ts';
import type { StreamEpochs, StreamPart } from './stream-epochs.ts';

export interface CaptureOptions {
  readonly stream: Pick<ReplicationStream, 'frames'>;
  readonly book: Pick<RelationBook, 'learn' | 'hasNewLabel' | 'learnLabels'>;
  readonly assembler: ChangeAssembler;
  readonly epochs: StreamEpochs;
  readonly parts: BoundedQueue<StreamPart>;
  readonly notifier: Notifier;
  readonly limits: EpochConfig;
  readonly gate: PauseGate;
}

/** Frames in, epochs out. Waits when two parts wait to be written, which stops the reading of the stream (invariant 6). */
export async function capture(options: CaptureOptions, signal: AbortSignal): Promise<void> {
  for await (const frames of options.stream.frames(signal)) {
    if (options.gate.isPaused) await options.gate.whenRunning(signal);
    for (const frame of frames) {
      const wait = takeFrame(options, frame);
      if (wait !== undefined) await wait;
    }
    options.notifier.notify();
  }
}

/** Returns a promise only where there is something to wait for. */
function takeFrame(options: CaptureOptions, frame: ReplicationFrame): Promise<void> | undefined {
  if (frame.kind === 'keepalive') {
    options.epochs.reach(frame.walEnd);
    return undefined;
  }
  const message = decodePgoutput(frame.payload);
  const { book } = options;
  if (message.tag === 'relation') return book.learn(message.relation);
  const hasRow = message.tag === 'insert' || message.tag === 'update';
  if (hasRow && book.hasNewLabel(message.relation, message.after))
    return book.learnLabels(message.relation).then(() => takeMessage(options, message, frame.lsn));
  return takeMessage(options, message, frame.lsn);
}

function takeMessage(
  { assembler, epochs, parts, limits }: CaptureOptions,
  message: Exclude<PgoutputMessage, { tag: 'relation' }>,
  lsn: Lsn,
): Promise<void> | undefined {
  assembler.accept(message, lsn);
  const isFull = epochs.isAtBoundary ? epochs.bytes >= limits.bytes : epochs.bytes >= limits.partBytes;
  return isFull && epochs.hasContent ? parts.put(epochs.take()) : undefined;
}
