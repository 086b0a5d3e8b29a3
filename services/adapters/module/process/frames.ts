import { readSync, writeSync } from 'node:fs';

/** Frames between a service and a module's process: four bytes of length, big-endian, then so many bytes of UTF-8. */

const WAIT_MS = 1;

/** null at the end of the input: the service is gone. Blocks. */
export function readFrame(fd: number): string | null {
  const head = readBytes(fd, 4);
  const body = head === null ? null : readBytes(fd, head.readUInt32BE());
  return body === null ? null : body.toString('utf8');
}

export function writeFrame(fd: number, text: string): void {
  const body = Buffer.from(text, 'utf8');
  const frame = Buffer.allocUnsafe(4 + body.length);
  frame.writeUInt32BE(body.length);
  body.copy(frame, 4);
  for (let at = 0; at < frame.length;) at += whenReady(() => writeSync(fd, frame, at));
}

function readBytes(fd: number, length: number): Buffer | null {
  const bytes = Buffer.allocUnsafe(length);
  for (let at = 0; at < length;) {
    const from = at;
    const count = whenReady(() => readSync(fd, bytes, from, length - from, null));
    if (count === 0) return null;
    at += count;
  }
  return bytes;
}

const sleeper = new Int32Array(new SharedArrayBuffer(4));

function whenReady(attempt: () => number): number {
  for (;;) {
    try {
      return attempt();
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error;
      Atomics.wait(sleeper, 0, 0, WAIT_MS);
    }
  }
}
