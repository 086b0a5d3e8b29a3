import { decodePgoutput } from '#adapters/postgres/source/pgoutput-decoder.ts';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { PgoutputMessage } from '#adapters/postgres/source/pgoutput-message.ts';
import type { ReplicationFrame, ReplicationStream } from '#adapters/postgres/source/replication-stream.ts';
import { ALTERED_PREFIX, FILL_PREFIX, REWRITE_PREFIX } from '#adapters/postgres/source/ddl-trigger.ts';
import { TABLE_PREFIX } from '#adapters/postgres/source/table-oids.ts';
import type { VisibleCommits } from '#adapters/postgres/source/visible-commits.ts';
import type { BoundedQueue } from '#core/bounded-queue.ts';
import type { EpochConfig } from '#core/config.ts';
import type { PauseGate } from '#core/control.ts';
import { LSN_ZERO, type Lsn } from '#core/lsn.ts';
import type { Notifier } from '#core/notifier.ts';
import { maskMessage } from './capture-guard.ts';
import { MESSAGE_PREFIX, type ChangeAssembler } from './change-assembler.ts';
import type { LateLoads } from './late-loads.ts';
import type { RelationBook, StreamPlace } from './relation-book.ts';
import { RewriteMetSignal, type RewriteMark, type Rewrites } from './rewrites.ts';
import { RewrittenError } from './table-alteration.ts';
import type { StreamEpochs, StreamPart } from './stream-epochs.ts';

export interface CaptureOptions {
  readonly stream: Pick<ReplicationStream, 'frames'>;
  readonly book: Pick<
    RelationBook,
    | 'get'
    | 'learn'
    | 'hasNewLabel'
    | 'isDue'
    | 'learnAgain'
    | 'learnDue'
    | 'learnTold'
    | 'noteFilled'
    | 'requireNotRewritten'
    | 'requireFollowed'
    | 'requireTold'
  >;
  /** Before the catalog is read for it. */
  readonly commits: Pick<VisibleCommits, 'wait'>;
  readonly assembler: ChangeAssembler;
  readonly epochs: StreamEpochs;
  readonly parts: BoundedQueue<StreamPart | RewriteMark>;
  readonly rewrites: Rewrites;
  readonly late: Pick<LateLoads, 'noteOpen'>;
  /** `source.onRewrite`. */
  readonly onRewrite: 'stop' | 'snapshot';
  readonly notifier: Notifier;
  readonly limits: EpochConfig;
  readonly gate: PauseGate;
}

/** After so many, about a millisecond's work, whatever else waits has its turn: Kafka's answers above all. */
const FRAMES_A_TURN = 128;

/** Stopped before a transaction could be seen: neither it nor what comes behind it is taken. */
class StoppedSignal extends Error {
  override readonly name = 'StoppedSignal';
}

/** Frames in, epochs out. Waits when two parts wait to be written, which stops the reading of the stream (invariant 6). */
export async function capture(options: CaptureOptions, signal: AbortSignal): Promise<void> {
  try {
    for await (const frames of options.stream.frames(signal)) {
      if (options.gate.isPaused) await options.gate.whenRunning(signal);
      await takeFrames(options, frames, signal);
      options.notifier.notify();
    }
  } catch (error) {
    if (!(error instanceof StoppedSignal)) throw error;
  }
}

async function takeFrames(
  options: CaptureOptions,
  frames: (ReplicationFrame | null)[],
  signal: AbortSignal,
): Promise<void> {
  for (let index = 0; index < frames.length; index += 1) {
    const wait = takeFrame(options, decodeFrame(frames, index), signal);
    if (wait !== undefined) await wait;
    else if (index % FRAMES_A_TURN === FRAMES_A_TURN - 1) await nextTurn();
  }
}

type DecodedFrame =
  | Extract<ReplicationFrame, { kind: 'keepalive' }>
  | { readonly kind: 'message'; readonly message: PgoutputMessage; readonly lsn: Lsn };

/** Nothing points at the frame's bytes afterwards: a large row is not there twice while it is written. */
function decodeFrame(frames: (ReplicationFrame | null)[], index: number): DecodedFrame | null {
  const frame = frames[index] ?? null;
  frames[index] = null;
  if (frame?.kind !== 'data') return frame;
  return { kind: 'message', message: decodePgoutput(frame.bytes, frame.from, frame.end), lsn: frame.lsn };
}

/** Returns a promise only where there is something to wait for. */
function takeFrame(
  options: CaptureOptions,
  frame: DecodedFrame | null,
  signal: AbortSignal,
): Promise<void> | undefined {
  if (frame === null) return undefined;
  if (frame.kind === 'keepalive') {
    options.epochs.reach(frame.walEnd);
    return undefined;
  }
  const { book, rewrites } = options;
  const message = maskMessage(frame.message, book);
  const commit = options.assembler.commit ?? LSN_ZERO;
  const place = { commit, xid: options.assembler.xid };
  if (message.tag === 'relation') return learnFrom(options, place, signal, () => book.learn(message.relation, place));
  if (message.tag === 'begin') {
    const mark = rewrites.markBefore(message.commit);
    if (mark !== null) return putMark(options, mark).then(() => takeMessage(options, message, frame.lsn));
  }
  if (message.tag === 'message' && message.isTransactional && message.prefix === REWRITE_PREFIX)
    return learnFrom(options, place, signal, () => book.requireNotRewritten(message.content, commit)).then(() =>
      takeMessage(options, message, frame.lsn),
    );
  if (message.tag === 'message' && message.isTransactional && message.prefix === TABLE_PREFIX)
    return learnFrom(options, place, signal, () => book.requireFollowed(message.content, commit)).then(() =>
      takeMessage(options, message, frame.lsn),
    );
  if (message.tag === 'message' && message.isTransactional && message.prefix === MESSAGE_PREFIX)
    return learnFrom(options, place, signal, async () => options.assembler.introduce(await book.learnDue(place))).then(
      () => takeMessage(options, message, frame.lsn),
    );
  if (message.tag === 'message' && message.isTransactional && message.prefix === FILL_PREFIX)
    book.noteFilled(message.content);
  if (message.tag === 'message' && message.isTransactional && message.prefix === ALTERED_PREFIX)
    return learnFrom(options, place, signal, async () =>
      options.assembler.introduce(await book.learnTold(message.content, place)),
    ).then(() => takeMessage(options, message, frame.lsn));
  if (message.tag === 'truncate')
    return learnFrom(options, place, signal, () => book.requireTold(message.relations, commit)).then(() =>
      takeMessage(options, message, frame.lsn),
    );
  const hasRow = message.tag === 'insert' || message.tag === 'update';
  const isChange = hasRow || message.tag === 'delete';
  if (
    (isChange && book.isDue(message.relation, place.xid)) ||
    (hasRow && book.hasNewLabel(message.relation, message.after))
  )
    return learnFrom(options, place, signal, () => book.learnAgain(message.relation, place)).then(() =>
      takeMessage(options, message, frame.lsn),
    );
  return takeMessage(options, message, frame.lsn);
}

/**
 * Reads the catalog, which must not be behind the stream, for the open transaction. A rewrite is announced before its transaction, so the stream is
 * read again from there. Not where parts of that are in Kafka.
 */
async function learnFrom(
  { commits, epochs, rewrites, onRewrite }: CaptureOptions,
  { commit, xid }: StreamPlace,
  signal: AbortSignal,
  learn: () => Promise<void>,
): Promise<void> {
  if (xid !== null && !(await commits.wait(xid, signal))) throw new StoppedSignal();
  try {
    await learn();
  } catch (error) {
    if (!(error instanceof RewrittenError) || onRewrite === 'stop' || epochs.hasOpenParts) throw error;
    rewrites.note(error, commit);
    throw new RewriteMetSignal(error.message, { cause: error });
  }
}

/** Everything before the transaction is an epoch of its own, and complete up to there. */
async function putMark({ epochs, parts, late }: CaptureOptions, mark: RewriteMark): Promise<void> {
  epochs.reach(mark.commit);
  late.noteOpen(
    mark.announcement.tables.map(({ topic }) => topic),
    false,
  );
  await parts.room();
  if (epochs.hasContent) parts.add(epochs.take());
  await parts.put(mark);
}

function takeMessage(
  options: CaptureOptions,
  message: Exclude<PgoutputMessage, { tag: 'relation' }>,
  lsn: Lsn,
): Promise<void> | undefined {
  const { assembler, epochs, parts, limits } = options;
  assembler.accept(message, lsn);
  return epochs.isFull(limits) && epochs.hasContent ? parts.room().then(() => passOn(options)) : undefined;
}

/**
 * What is taken stands among the parts from the same moment on, and what waits for room stays where the publisher sees it: in nobody's hand,
 * it would take the stream to be written up to here (invariant 3).
 */
function passOn({ epochs, parts, limits }: CaptureOptions): void {
  if (epochs.isFull(limits) && epochs.hasContent) parts.add(epochs.take());
}
