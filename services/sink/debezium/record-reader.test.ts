import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { KafkaConfig } from '#core/config.ts';
import { eventReader } from '#core/debezium-source/event.ts';
import type { DebeziumSourceConfig } from '#core/debezium-source/options.ts';
import { RecordReader } from './record-reader.ts';

const SCHEMA = {
  type: 'record',
  name: 'Key',
  fields: [
    { name: 'id', type: ['null', 'int'] },
    { name: 'list', type: { type: 'array', items: 'string' } },
  ],
};
/** By id, as the registry answers. */
const ANSWERS: Readonly<Record<string, object>> = {
  1: { schema: JSON.stringify(SCHEMA) },
  2: { schema: 'message Key {}', schemaType: 'PROTOBUF' },
  3: { schema: '{"type":"record","name":"Key","fields":[{"name":"id","type":"Missing"}]}' },
  4: { schema: '{' },
};

let registry: Server;
let url: string;

beforeAll(async () => {
  registry = createServer((request, response) => {
    const answer = ANSWERS[request.url?.split('/').at(-1) ?? ''];
    response.writeHead(answer === undefined ? 404 : 200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer ?? { error_code: 40_403, message: 'Schema 9 not found' }));
  });
  await new Promise<void>((resolve) => registry.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(registry.address() as AddressInfo).port}`;
});

afterAll(() => new Promise((resolve) => registry.close(resolve)));

function framed(id: number, ...datum: number[]): Buffer {
  return Buffer.from([0, 0, 0, 0, id, ...datum]);
}

async function open(value: Buffer, registryUrl = url): Promise<() => unknown> {
  const reader = new RecordReader({ format: 'avro' } as DebeziumSourceConfig, { registryUrl } as KafkaConfig);
  const record = { offset: 42n, key: null, value, headers: new Map<string, Buffer>() };
  await reader.learn([record]);
  const read = eventReader('shop.public.t', reader.open(), reader.open());
  return () => read(record);
}

test('a record in the frame of a registry is read', async () => {
  const reader = new RecordReader({ format: 'avro' } as DebeziumSourceConfig, { registryUrl: url } as KafkaConfig);
  const key = framed(1, 2, 14, 2, 2, 0x61, 0);
  await reader.learn([{ offset: 1n, key, value: null, headers: new Map() }]);
  expect(reader.open()(key).value).toEqual(
    new Map<string, unknown>([
      ['id', 7n],
      ['list', ['a']],
    ]),
  );
});

test.each<[string, Buffer, string]>([
  ['a wrong magic byte', Buffer.from([1, 0, 0, 0, 1, 0]), 'it does not begin with the zero byte and schema id'],
  ['less than a frame', Buffer.from([0, 0, 0]), 'it does not begin with the zero byte and schema id'],
  ['no bytes', Buffer.alloc(0), 'it does not begin with the zero byte and schema id'],
  ['an unknown schema id', framed(9, 0), 'schema id 9'],
  ['a schema of another kind', framed(2, 0), 'schema id 2: the registered schema is not Avro'],
  ['a schema that names what it does not define', framed(3, 0), 'schema id 3: the registered schema names a type'],
  ['a schema that is none', framed(4, 0), 'schema id 4'],
  ['a datum that ends too early', framed(1, 2), 'it ends too early'],
  ['a branch that the union lacks', framed(1, 8, 0), 'a union has no such branch'],
  ['a number without an end', framed(1, 2, ...Array.from({ length: 11 }, () => 0xff)), 'a number has too many bytes'],
  ['a text as long as the world', framed(1, 0, 2, 0xfe, 0xff, 0xff, 0xff, 0x0f), 'it ends too early'],
  ['a list as long as the world', framed(1, 0, 0xfe, 0xff, 0xff, 0xff, 0x0f), 'a list is longer than any value'],
  ['bytes that are left over', framed(1, 0, 0, 7), 'bytes are left over'],
])('%s is refused by its place and reason', async (_what, value, reason) => {
  const read = await open(value);
  expect(read).toThrow(reason);
  expect(read).toThrow(
    expect.objectContaining({ code: 'record_invalid', where: 'topic shop.public.t, partition 0, offset 42' }),
  );
});

test('a registry that is away says nothing of the record', async () => {
  await expect(open(framed(1, 0), 'http://127.0.0.1:1')).rejects.toMatchObject({ code: 'registry_unreachable' });
});
