import type { Duplex } from 'node:stream';
import type pg from 'pg';

/** Messages of PostgreSQL's protocol (PostgreSQL: "Message Formats"): one byte, then a length that counts itself. */
const COPY_BOTH_RESPONSE = 0x57;
const COPY_DATA = 0x64;
/** Notices, parameters and notifications may come at any time. */
const PASSED_OVER = [0x4e, 0x53, 0x41];
const HEAD_BYTES = 5;
/** From so much on nothing more is read until `more` (invariant 6). */
const READ_AHEAD_BYTES = 65_536;

type Listener = (chunk: Buffer) => void;

/** Takes a message from its first byte to before `end`; it may keep a view of them. */
export type TakeMessage = (bytes: Buffer, from: number, end: number) => void;

/**
 * A session that copies both ways, which is what replication does: messages are found in what comes off the socket as it comes, since an
 * object stream's machinery costs more than decoding a small message does. What is no message of the copy is pg's own.
 */
export class CopyBoth implements pg.Submittable {
  readonly #command: string;
  readonly #take: TakeMessage;
  readonly #onEvent: () => void;
  #socket: Duplex | null = null;
  /** pg's reader of the socket, which waits meanwhile. */
  #readers: Listener[] = [];
  #bytes = 0;
  /** The beginning of a message whose rest is still to come, in a buffer of its whole length once that is known. */
  #open: Buffer | null = null;
  #filled = 0;
  #isStarted = false;
  #isGivenBack = false;
  #hasEnded = false;
  #failure: Error | null = null;

  /** `onEvent`: messages were taken, or it has ended. */
  constructor(command: string, take: TakeMessage, onEvent: () => void) {
    this.#command = command;
    this.#take = take;
    this.#onEvent = onEvent;
  }

  /** Why it ended, where the server said so; else null. */
  get failure(): Error | null {
    return this.#failure;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  submit(connection: pg.Connection): void {
    const socket: Duplex = connection.stream;
    this.#socket = socket;
    this.#readers = socket.listeners('data') as Listener[];
    for (const reader of this.#readers) socket.off('data', reader);
    socket.on('data', this.#read);
    connection.query(this.#command);
  }

  /** What was taken is done with: there is room for more. */
  more(): void {
    if (this.#bytes >= READ_AHEAD_BYTES && !this.#hasEnded) this.#socket?.resume();
    this.#bytes = 0;
  }

  /** Not where the copy has not begun, or is over. */
  send(bytes: Buffer): void {
    if (!this.#isStarted || this.#hasEnded) return;
    const message = Buffer.allocUnsafe(HEAD_BYTES + bytes.length);
    message[0] = COPY_DATA;
    message.writeUInt32BE(bytes.length + HEAD_BYTES - 1, 1);
    bytes.copy(message, HEAD_BYTES);
    this.#socket?.write(message);
  }

  /** The session is over. */
  end(): void {
    this.#hasEnded = true;
    this.#onEvent();
  }

  /** Called by pg. */
  handleError(error: Error): void {
    this.#failure ??= error;
    this.end();
  }

  /** Called by pg when the copy has ended. */
  handleCommandComplete(): void {
    this.end();
  }

  /** Called by pg. */
  handleReadyForQuery(): void {
    this.end();
  }

  readonly #read = (chunk: Buffer): void => {
    for (let at = this.#fill(chunk); at < chunk.length;) {
      const end = endOf(chunk, at);
      if (end > chunk.length) {
        this.#keep(chunk, at);
        break;
      }
      if (!this.#accept(chunk, at, end)) {
        this.#giveBack(chunk.subarray(at));
        break;
      }
      at = end;
    }
    this.#bytes += chunk.length;
    if (this.#bytes >= READ_AHEAD_BYTES && !this.#isGivenBack) this.#socket?.pause();
    this.#onEvent();
  };

  /** Keeps the beginning of a message. */
  #keep(chunk: Buffer, at: number): void {
    const isHeadWhole = chunk.length - at >= HEAD_BYTES;
    this.#open = Buffer.allocUnsafe(isHeadWhole ? lengthOf(chunk, at) : HEAD_BYTES);
    this.#filled = chunk.copy(this.#open, 0, at);
  }

  /** Goes on with the message that is open. Where the chunk's own messages begin; its end where there are none. */
  #fill(chunk: Buffer): number {
    let at = 0;
    while (this.#open !== null && at < chunk.length) {
      const open = this.#open;
      const copied = chunk.copy(open, this.#filled, at);
      at += copied;
      this.#filled += copied;
      if (this.#filled < open.length) break;
      const length = lengthOf(open, 0);
      this.#open = null;
      if (length > open.length) this.#keep(open, 0);
      else if (!this.#accept(open, 0, length)) {
        this.#giveBack(Buffer.concat([open, chunk.subarray(at)]));
        return chunk.length;
      }
    }
    return at;
  }

  /** False where the message is pg's. */
  #accept(bytes: Buffer, at: number, end: number): boolean {
    const kind = bytes[at] ?? 0;
    if (kind === COPY_DATA) this.#take(bytes, at + HEAD_BYTES, end);
    else if (kind === COPY_BOTH_RESPONSE) this.#isStarted = true;
    else return PASSED_OVER.includes(kind);
    return true;
  }

  /** The copy is over, by an error or its end: pg reads that, and all that follows. */
  #giveBack(bytes: Buffer): void {
    this.#isGivenBack = true;
    this.#socket?.off('data', this.#read);
    for (const reader of this.#readers) {
      this.#socket?.on('data', reader);
      reader(bytes);
    }
  }
}

/** Where the message at `at` ends; past the chunk's end where it is not whole. */
function endOf(chunk: Buffer, at: number): number {
  return chunk.length - at < HEAD_BYTES ? chunk.length + 1 : at + lengthOf(chunk, at);
}

/** Of a whole message. */
function lengthOf(bytes: Buffer, at: number): number {
  return 1 + bytes.readUInt32BE(at + 1);
}
