import fc from 'fast-check';
import type { Statement } from './memory-wal.ts';

export const statement: fc.Arbitrary<Statement> = fc.record({
  kind: fc.constantFrom('insert', 'insert', 'update', 'rekey', 'delete', 'truncate', 'barrier'),
  table: fc.nat(1),
  row: fc.nat(3),
  isBig: fc.boolean(),
});
