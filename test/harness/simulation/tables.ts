import type { TableStructure } from '#core/structure.ts';
import { makeColumn, makeTable } from '../structures.ts';
import { RELATIONS } from './memory-wal.ts';

/** Prefix of the raw topics. */
export const RAW = 'sim';

/** One a relation, in their order. */
export const TABLES: readonly TableStructure[] = RELATIONS.map((_, index) => ({
  ...makeTable(RAW, `t${index}`, [makeColumn('id', 'int4'), makeColumn('v', 'text')]),
  identity: { kind: 'primaryKey', columns: ['id'], isFull: false },
}));
