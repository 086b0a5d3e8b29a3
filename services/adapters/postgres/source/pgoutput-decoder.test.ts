import fc from 'fast-check';
import { expect, test } from 'vitest';
import { lsnOf } from '#core/lsn.ts';
import { textsOf, UNCHANGED, type SentTuple } from '#core/tuple.ts';
import { int16, int32, int64 } from '../../../../test/harness/wire-numbers.ts';
import { decodePgoutput } from './pgoutput-decoder.ts';
import type { PgoutputMessage } from './pgoutput-message.ts';

const RELATION = int32(16_401);
const NEW_ROW = tuple('1', null, UNCHANGED, 'zwei');
const OLD_KEY = tuple('1', null, null, null);

/** By tag: its bytes (PostgreSQL: "Logical Replication Message Formats"), none of them left unread. */
const MESSAGES = {
  begin: bytes('B', int64(0x10n), int64(0n), int32(700)),
  commit: bytes('C', 0, int64(0x10n), int64(0x18n)),
  relation: bytes('R', RELATION, 'public\0', 'item\0', 'd', int16(1), 1, 'id\0', int32(23), int32(-1)),
  insert: bytes('I', RELATION, 'N', NEW_ROW),
  update: bytes('U', RELATION, 'K', OLD_KEY, 'N', NEW_ROW),
  delete: bytes('D', RELATION, 'O', NEW_ROW),
  truncate: bytes('T', int32(2), 1, RELATION, int32(16_402)),
  message: bytes('M', 1, int64(0x10n), 'restage\0', int32(4), 'here'),
};

const anyBytes = fc.uint8Array({ maxLength: 40 }).map((given) => Buffer.from(given));

test('messages say what they hold', () => {
  expect(plain(decodePgoutput(MESSAGES.begin))).toMatchObject({ commit: lsnOf(0x10n), xid: 700 });
  expect(plain(decodePgoutput(MESSAGES.relation))).toMatchObject({
    relation: { schema: 'public', table: 'item', replicaIdentity: 'd', columns: [{ isKey: true, name: 'id' }] },
  });
  expect(plain(decodePgoutput(MESSAGES.update))).toEqual({
    tag: 'update',
    relation: 16_401,
    before: { kind: 'key', values: ['1', null, null, null] },
    after: ['1', null, UNCHANGED, 'zwei'],
  });
  expect(plain(decodePgoutput(MESSAGES.truncate))).toMatchObject({ relations: [16_401, 16_402], cascade: true });
  expect(plain(decodePgoutput(MESSAGES.message))).toMatchObject({ prefix: 'restage', content: 'here' });
});

test.each(Object.entries(MESSAGES))('%s: the same among other bytes, none of which it takes', (tag, message) => {
  fc.assert(
    fc.property(anyBytes, anyBytes, (before, behind) => {
      const all = Buffer.concat([before, message, behind]);
      const decoded = decodePgoutput(all, before.length, before.length + message.length);
      expect(decoded.tag).toBe(tag);
      expect(plain(decoded)).toEqual(plain(decodePgoutput(message)));
    }),
  );
});

test.each(Object.entries(MESSAGES))(
  '%s: refused where it ends too early, whatever stands behind it',
  (_tag, message) => {
    const behind = Buffer.concat([message, message]);
    for (let end = 1; end < message.length; end += 1)
      expect(() => decodePgoutput(Buffer.concat([message.subarray(0, end), behind]), 0, end)).toThrow(
        expect.objectContaining({ code: 'record_invalid' }),
      );
  },
);

/** With rows as their texts. */
function plain(message: PgoutputMessage): unknown {
  const texts = (row: SentTuple | undefined): unknown => (row === undefined ? undefined : textsOf(row));
  if (message.tag === 'insert') return { ...message, after: texts(message.after) };
  if (message.tag === 'delete')
    return { ...message, before: { ...message.before, values: texts(message.before.values) } };
  if (message.tag !== 'update') return message;
  const { before, after } = message;
  return {
    ...message,
    before: before === null ? null : { ...before, values: texts(before.values) },
    after: texts(after),
  };
}

function tuple(...values: readonly (string | null | typeof UNCHANGED)[]): Buffer {
  const cells = values.map((value) => {
    if (value === UNCHANGED) return bytes('u');
    return value === null ? bytes('n') : bytes('t', int32(value.length), value);
  });
  return bytes(int16(values.length), ...cells);
}

function bytes(...parts: readonly (string | number | Buffer)[]): Buffer {
  return Buffer.concat(
    parts.map((part) =>
      typeof part === 'number' ? Buffer.of(part) : typeof part === 'string' ? Buffer.from(part) : part,
    ),
  );
}
