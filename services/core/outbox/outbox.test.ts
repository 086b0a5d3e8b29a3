import { describe, expect, it } from 'vitest';
import { parsePlacements, type OutboxConfig } from '#core/outbox/outbox-config.ts';
import { OutboxTopics } from '#core/outbox/outbox-topics.ts';
import { compileOutbox } from '#core/outbox/outbox.ts';
import { encodeHeaders } from '#core/fixed-headers.ts';
import { makeColumn, makeTable } from '../../../test/harness/structures.ts';

const CONFIG: OutboxConfig = {
  idField: 'id',
  keyField: 'aggregateid',
  payloadField: 'payload',
  routeField: 'aggregatetype',
  topicRegex: null,
  topicReplacement: 'outbox.event.${routedByValue}',
  placements: [],
  tombstoneOnEmptyPayload: false,
  expandJson: false,
  invalidOp: 'warn',
  maxTopics: 3,
};
const table = (payload: string) =>
  makeTable('shop', 'outbox', [
    makeColumn('id', 'uuid'),
    makeColumn('aggregatetype', 'text'),
    makeColumn('aggregateid', 'text'),
    makeColumn('type', 'text'),
    makeColumn('payload', payload),
  ]);
const ROW = { id: 'e1', aggregatetype: 'order', aggregateid: '17', type: 'Placed', payload: '{"n": 1.0000,  "n":2}' };

function event(row: object, config: Partial<OutboxConfig> = {}, payload = 'json') {
  return compileOutbox(table(payload), { ...CONFIG, ...config }).event(
    { ...ROW, ...row },
    new OutboxTopics('shop', []),
    'offset 5',
  );
}

describe('an outbox row', () => {
  it("is Debezium's event: key, payload byte for byte, header id", () => {
    const { topic, key, value, headers } = event({});
    expect([topic, String(key), String(value)]).toEqual(['outbox.event.order', '17', ROW.payload]);
    expect(headers).toEqual(encodeHeaders([['id', Buffer.from('e1')]]));
  });

  it('has the bytes of bytea, and columns in headers and beside the payload', () => {
    expect(event({ payload: '\\x00ff' }, {}, 'bytea').value).toEqual(Buffer.of(0, 255));
    const placements = parsePlacements('type:header:eventType, aggregateid:envelope') ?? [];
    const { value, headers } = event({}, { placements });
    expect(JSON.parse(String(value))).toEqual({ payload: ROW.payload, aggregateid: '17' });
    expect(headers).toEqual(
      encodeHeaders([
        ['id', Buffer.from('e1')],
        ['eventType', Buffer.from('Placed')],
      ]),
    );
  });

  it('has its document beside other columns where that is said, every digit of it', () => {
    const config = { placements: parsePlacements('aggregateid:envelope:of') ?? [], expandJson: true };
    expect(String(event({}, config).value)).toBe(`{"payload":${ROW.payload},"of":"17"}`);
    for (const payload of ['"text"', '17', '{broken'])
      expect(JSON.parse(String(event({ payload }, config, 'text').value))).toEqual({ payload, of: '17' });
    expect(String(event({ payload: null }, config).value)).toBe('{"payload":null,"of":"17"}');
  });

  it('is routed by what the expression takes of the value', () => {
    const config = { topicRegex: '[a-z]+-(?<routedByValue>.*)' };
    expect(event({ aggregatetype: 'shop-order' }, config).topic).toBe('outbox.event.order');
    for (const aggregatetype of ['order', 'shop-'])
      expect(() => event({ aggregatetype }, config)).toThrow('has nothing that route.topic.regex takes');
  });

  it('without payload is an empty value or a tombstone', () => {
    expect(event({ payload: null }).value).toEqual(Buffer.alloc(0));
    expect(event({ payload: null }, { tombstoneOnEmptyPayload: true }).value).toBeNull();
    expect(event({ payload: '' }, { tombstoneOnEmptyPayload: true }).value).toBeNull();
  });

  it.each([
    ['a/b c', 'outbox.event.a-2Fb-20c'],
    ['é\u0000', 'outbox.event.-C3-A9-00'],
    ['com.acme_Order-1', 'outbox.event.com.acme_Order-1'],
    ['$&', 'outbox.event.-24-26'],
  ])('routes %j', (aggregatetype, topic) => {
    expect(event({ aggregatetype }).topic).toBe(topic);
  });

  it.each<[string, object, Partial<OutboxConfig>]>([
    ['aggregatetype is empty', { aggregatetype: null }, {}],
    ['aggregatetype is empty', { aggregatetype: '' }, {}],
    ['is longer than 249', { aggregatetype: 'x'.repeat(300) }, {}],
    ['shop.epochs is not for events', { aggregatetype: 'p.epochs' }, { topicReplacement: 'sho${routedByValue}' }],
    ['is not for events', { aggregatetype: 'offsets' }, { topicReplacement: '__consumer_${routedByValue}' }],
  ])('fails: %s', (message, row, config) => {
    expect(() => event(row, config)).toThrow(
      expect.objectContaining({
        code: 'rule_failed',
        message: expect.stringContaining(message) as string,
        where: 'offset 5; outbox public.outbox',
      }),
    );
  });

  it('makes no more topics than it may, those of earlier lives with them, and none that Kafka takes for another', () => {
    const topics = new OutboxTopics('shop', ['outbox.event.a', 'outbox.event.b_c', 'else']);
    const take = (value: string): string => topics.take(value, CONFIG, 'here');
    expect(take('a')).toBe('outbox.event.a');
    expect(() => take('b.c')).toThrow('Kafka cannot tell outbox.event.b.c from outbox.event.b_c');
    expect(take('third')).toBe('outbox.event.third');
    expect(() => take('fourth')).toThrow('there are 3 already');
    expect(take('third')).toBe('outbox.event.third');
  });

  it('needs its columns', () => {
    expect(() => compileOutbox(table('json'), { ...CONFIG, keyField: 'aggregate_id' })).toThrow(
      expect.objectContaining({ code: 'rule_invalid', fix: 'did you mean aggregateid?' }),
    );
  });
});
