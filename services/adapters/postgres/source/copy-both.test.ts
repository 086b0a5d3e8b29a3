import { PassThrough } from 'node:stream';
import fc from 'fast-check';
import type pg from 'pg';
import { expect, test } from 'vitest';
import { CopyBoth } from './copy-both.ts';

const START = message('W', Buffer.of(0, 0, 0));
const NOTICE = message('N', Buffer.from('SNOTICE\0\0'));
const ERROR = message('E', Buffer.from('SERROR\0\0'));
const READY = message('Z', Buffer.from('I'));

test('messages are the same wherever the socket cuts them, and what ends the copy is for pg to read', async () => {
  const contents = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(contents, fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1 }), async (sent, cuts) => {
      const { copy, socket, taken, passedOn } = open();
      const copied = sent.flatMap((content) => [NOTICE, message('d', Buffer.from(content))]);
      await write(socket, Buffer.concat([START, ...copied, ERROR, READY]), cuts);
      expect(taken).toEqual(sent.map((content) => Buffer.from(content).toString('hex')));
      expect(Buffer.concat(passedOn).toString('hex')).toBe(Buffer.concat([ERROR, READY]).toString('hex'));
      copy.handleError(new Error('as pg reads it'));
      expect([copy.hasEnded, copy.failure?.message]).toEqual([true, 'as pg reads it']);
    }),
    { numRuns: 200 },
  );
});

test('nothing more is read until what came is done with', async () => {
  const { copy, socket, taken } = open();
  const large = message('d', Buffer.alloc(70_000, 1));
  socket.write(Buffer.concat([START, large]));
  await turn();
  socket.write(message('d', Buffer.of(2)));
  await turn();
  expect(taken).toHaveLength(1);
  copy.more();
  await turn();
  expect(taken.at(-1)).toBe('02');
});

/** `passedOn` is what a reader of the socket that was there before gets. */
function open(): { copy: CopyBoth; socket: PassThrough; taken: string[]; passedOn: Buffer[] } {
  const socket = new PassThrough();
  const taken: string[] = [];
  const passedOn: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => passedOn.push(chunk));
  const take = (bytes: Buffer, from: number, end: number): void => void taken.push(bytes.toString('hex', from, end));
  const copy = new CopyBoth('START_REPLICATION', take, () => undefined);
  copy.submit({ stream: socket, query: () => undefined } as unknown as pg.Connection);
  return { copy, socket, taken, passedOn };
}

async function write(socket: PassThrough, bytes: Buffer, cuts: readonly number[]): Promise<void> {
  for (let at = 0, index = 0; at < bytes.length; index += 1) {
    const end = at + (cuts[index % cuts.length] ?? 1);
    socket.write(bytes.subarray(at, end));
    at = end;
  }
  await turn();
}

/** The socket has handed on what was written. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function message(kind: string, content: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.write(kind);
  head.writeUInt32BE(content.length + 4, 1);
  return Buffer.concat([head, content]);
}
