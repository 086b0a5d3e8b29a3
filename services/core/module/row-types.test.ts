import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeRowTypes } from '#core/module/row-types.ts';
import { makeColumn, makeTable } from '../../../test/harness/structures.ts';

const ROOT = path.resolve(import.meta.dirname, '../../..');
const full = makeTable('shop', 'orders', [
  makeColumn('id', 'int4', { notNull: true }),
  makeColumn('paid', 'bool', { json: 'boolean' }),
  makeColumn('total', 'numeric', { notNull: true }),
]);
const plain = {
  ...makeTable('shop', 'odd "Name"', [makeColumn('id', 'int8', { notNull: true }), makeColumn('it’s', 'text')]),
  identity: { kind: 'primaryKey', columns: ['id'], isFull: false } as const,
};
const keyless = { ...plain, table: 'log', identity: { kind: 'nothing', columns: [], isFull: false } as const };

const MODULE = `import { defineTransform, UNCHANGED } from 'restage/transform';
import type { Tables } from './tables.ts';

export default defineTransform<Tables>({
  tables: { 'public.order_totals': { key: ['id'], columns: { id: 'int8', total: 'numeric(12,2)', paid: 'bool' } } },
  'public.orders': (change) => {
    if (change.op === 'd') return { table: 'public.order_totals', key: change.before };
    const { id, total, paid } = change.after;
    const twice: string = total + total;
    return paid === true ? { table: 'public.order_totals', before: change.before, after: { id: id + 1, total: twice, paid } } : null;
  },
  'public."odd ""Name"""': (change, { emit }) => {
    if (change.op !== 'u') return [];
    const text = change.after['it’s'];
    emit({ table: 'public.order_totals', op: 'c', after: { id: change.key.id, total: text === UNCHANGED ? '0' : text, paid: null } });
    return undefined;
  },
});
`;

let directory = '';

beforeAll(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'types-'));
  mkdirSync(path.join(directory, 'node_modules'));
  symlinkSync(ROOT, path.join(directory, 'node_modules', 'restage'));
  writeFileSync(path.join(directory, 'package.json'), '{ "type": "module" }');
  writeFileSync(path.join(directory, 'tables.ts'), makeRowTypes([full, plain, keyless]));
});
afterAll(() => rmSync(directory, { recursive: true }));

const CASES: readonly (readonly [string, string, string])[] = [
  ['a sound module', MODULE, ''],
  [
    'a column that is not there',
    MODULE.replace('{ id, total, paid }', '{ id, totals, paid }').replace('total + total', "''"),
    "Property 'totals' does not exist",
  ],
  ['a number for a text', MODULE.replace('total + total', 'total * 2'), 'TS2362'],
  [
    'what may be unchanged',
    MODULE.replace(/text === UNCHANGED .*? : text,/, 'String(text).length + (text ?? ""),'),
    'TS23',
  ],
  ['a table that is not captured', MODULE.replace("'public.orders'", "'public.order'"), "'public.order'"],
];

describe('the types of captured tables', () => {
  it('let tsc judge a module', () => {
    const names = CASES.map(([, text], index) => {
      writeFileSync(path.join(directory, `transform${index}.ts`), text);
      return `transform${index}.ts`;
    });
    const options = [
      '--noEmit',
      '--strict',
      '--module',
      'nodenext',
      '--target',
      'es2023',
      '--allowImportingTsExtensions',
    ];
    const tsc = path.join(ROOT, 'node_modules/typescript/lib/tsc.js');
    const { stdout } = spawnSync(process.execPath, [tsc, ...options, '--pretty', 'false', ...names], {
      cwd: directory,
      encoding: 'utf8',
    });
    for (const [index, [what, , message]] of CASES.entries()) {
      const said = stdout.split('\n').filter((line) => line.startsWith(`transform${index}.ts`));
      if (message === '') expect(said, what).toEqual([]);
      else expect(said.join('\n'), what).toContain(message);
    }
  });
});
