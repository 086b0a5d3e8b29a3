import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect, test } from 'vitest';
import { EventEncoder } from '#core/event-encoder.ts';
import { transactionFacts } from '#core/event-tail.ts';
import { lsnOf } from '#core/lsn.ts';
import { makeManifestSchema } from '#core/manifest-schema.ts';
import type { Manifest } from '#core/manifest.ts';
import type { TableStructure } from '#core/structure.ts';

function committed(name: string): string {
  return readFileSync(new URL(`../../schemas/${name}`, import.meta.url), 'utf8');
}

const manifest: Manifest = {
  format: 1,
  incarnation: 'a',
  kind: 'stream',
  epoch: 1,
  part: 1,
  last: true,
  firstCommit: '0/A',
  lastCommit: '0/B',
  lastOrdinal: 3,
  through: '0/C',
  commitTime: '1',
  systemId: '1',
  timeline: 1,
  load: 1,
  control: [],
  plan: null,
  ranges: [{ topic: 'shop.public.t', partition: 0, first: '0', last: '2', count: 3 }],
};

const structure: TableStructure = {
  schema: 'public',
  table: 't',
  topic: 'shop.public.t',
  primaryKey: ['id'],
  uniques: [],
  identity: { kind: 'primaryKey', columns: ['id'], isFull: false },
  columns: [
    {
      name: 'id',
      type: 'integer',
      typeSchema: 'pg_catalog',
      typeName: 'int4',
      modifiers: '',
      json: 'integer',
      notNull: true,
      generated: false,
      identity: '',
      enumLabels: null,
    },
  ],
};

test('the committed schema of the manifest is current, takes one and refuses a damaged one', () => {
  expect(committed('manifest.schema.json')).toBe(`${JSON.stringify(makeManifestSchema(), null, 2)}\n`);
  const validate = new Ajv2020({ allErrors: true }).compile(makeManifestSchema());
  expect(validate(manifest), JSON.stringify(validate.errors)).toBe(true);
  expect(validate({ ...manifest, through: 'there' })).toBe(false);
});

test('the schema of the envelope takes what the encoder writes', () => {
  const validate = new Ajv2020({ allErrors: true, allowUnionTypes: true }).compile(
    JSON.parse(committed('envelope.schema.json')) as object,
  );
  const encoder = new EventEncoder(structure, structure.columns, 'shop', 'db', '0.1.0');
  const facts = transactionFacts(lsnOf(256n), 7, 1_700_000_000_000_000n);
  const event = { lsn: lsnOf(200n), ordinal: 1, tableOrdinal: 1, processedMs: 5 };
  const change = String(encoder.change('u', 'null', encoder.row(['1']), facts, event));
  for (const json of [change, encoder.snapshot(['1'], lsnOf(9n), 5).value]) {
    expect(validate(JSON.parse(String(json))), JSON.stringify(validate.errors)).toBe(true);
  }
  expect(validate({ ...(JSON.parse(change) as object), op: 'x' })).toBe(false);
});
