import { expect, test } from 'vitest';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import { diffSchemas, type SchemaObject } from '#core/schema-diff.ts';
import type { TableStructure } from '#core/structure.ts';

const table = (name: string): TableStructure => ({
  schema: 'public',
  table: name,
  topic: name,
  columns: [],
  identity: { kind: 'primaryKey', columns: ['id'], isFull: false },
  primaryKey: ['id'],
  uniques: [],
});
const object = (kind: string, of: string | null, name: string, definition = ''): SchemaObject => ({
  kind,
  name,
  definition,
  table: of === null ? null : { schema: 'public', table: of },
});
const RULE: RuleConfig = {
  table: { schema: 'public', table: 'payments' },
  rename: { schema: 'public', table: 'receipts' },
  renameColumns: new Map([['paid_on', 'settled_on']]),
  dropColumns: [],
  where: null,
};
const SOURCE = [
  object('column', 'payments', 'paid_on', 'date NOT NULL'),
  object('constraint', 'payments', 'CHECK ((paid_on > 0))'),
  object('index', 'payments', 'CREATE INDEX ON public.payments USING btree (paid_on)'),
  object('constraint', 'lines', 'FOREIGN KEY (payment) REFERENCES public.payments(paid_on)'),
  object('column', 'not_chosen', 'a', 'text'),
  object('sequence', 'payments', 'public.payments_id_seq', 'bigint'),
  object('sequence', 'not_chosen', 'public.not_chosen_id_seq', 'bigint'),
  object('extension', null, 'hstore', '1.8'),
];
const TARGET = [
  object('column', 'receipts', 'settled_on', 'date NOT NULL'),
  object('constraint', 'receipts', 'CHECK ((settled_on > 0))'),
  object('index', 'receipts', 'CREATE INDEX ON public.receipts USING btree (settled_on)'),
  object('constraint', 'lines', 'FOREIGN KEY (payment) REFERENCES public.receipts(settled_on)'),
  object('column', 'of_another', 'a', 'text'),
  // It keeps its name where its table gets another.
  object('sequence', 'receipts', 'public.payments_id_seq', 'bigint'),
  object('extension', null, 'hstore', '1.8'),
];
const tables = [table('payments'), table('lines')];
const rest = { tables, shaped: [table('receipts'), table('lines')], found: [], rules: [RULE] };

test('new names of tables and columns are no differences, nor are tables that are not chosen', () => {
  expect(diffSchemas({ ...rest, source: SOURCE, target: TARGET })).toEqual({ differences: [], columnsOnly: [] });
});

test('what is missing, extra or otherwise is named as the target has it', () => {
  const target = TARGET.filter(({ kind }) => kind !== 'index' && kind !== 'sequence').map((one) =>
    one.kind === 'extension' ? { ...one, definition: '1.9' } : one,
  );
  target.push(object('index', 'lines', 'CREATE INDEX ON public.lines USING btree (a)'));
  const { differences } = diffSchemas({ ...rest, source: SOURCE, target });
  expect(differences.map(({ is, kind, name }) => `${is} ${kind} ${name}`)).toEqual([
    'missing index public.receipts CREATE INDEX ON public.receipts USING btree (settled_on)',
    'missing sequence public.payments_id_seq',
    'different extension hstore',
    'extra index public.lines CREATE INDEX ON public.lines USING btree (a)',
  ]);
});

test('of a table that rules compute only the columns are compared', () => {
  const rules = [{ ...RULE, dropColumns: ['a'] }];
  const { differences, columnsOnly } = diffSchemas({ ...rest, rules, source: SOURCE, target: TARGET });
  expect(columnsOnly).toEqual(['public.receipts']);
  expect(differences).toContainEqual({
    kind: 'table',
    name: 'public.receipts',
    is: 'missing',
    source: null,
    target: null,
  });
});
