import fc from 'fast-check';
import { expect, test } from 'vitest';
import { controlTopic, epochsTopic, schemasTopic, shapedPrefix, tableTopic } from '#core/topic-names.ts';

const PREFIXES = ['shop', shapedPrefix('shop', 'main', 1), shapedPrefix('shop', 'main', 11)] as const;
const RESERVED = ['epochs', 'schemas', 'control', 'dlq', 'shaped', 'state'] as const;
/** Few characters, so that names come close to each other. */
const part = fc.oneof(
  fc.string({
    unit: fc.constantFrom('a', 'A', '.', '_', '-', '2', 'E', ' ', '"', '\n', 'é', '😀'),
    minLength: 1,
    maxLength: 4,
  }),
  fc.constantFrom(...RESERVED, 'a'.repeat(63), 'é'.repeat(31), '😀'.repeat(15), `${'😀'.repeat(14)}é`),
);
const name = fc.record({ prefix: fc.constantFrom(...PREFIXES), schema: part, table: part });
/** What Kafka holds equal: metrics make `_` of `.`. */
const collapse = (topic: string): string => topic.replaceAll('.', '_');

test('is one that Kafka takes, and no two tables of a pipeline meet, nor one and a topic of ours', () => {
  fc.assert(
    fc.property(fc.array(name, { minLength: 2, maxLength: 20 }), (names) => {
      const own = ['shop', ...PREFIXES].flatMap((prefix) => [epochsTopic(prefix), schemasTopic(prefix)]);
      const taken = new Map([...own, controlTopic('shop'), 'shop.dlq'].map((topic) => [collapse(topic), '']));
      for (const { prefix, schema, table } of names) {
        const topic = tableTopic(prefix, { schema, table });
        expect(topic).toMatch(/^[A-Za-z0-9._-]{1,249}$/);
        const who = JSON.stringify([prefix, schema, table]);
        expect(taken.get(collapse(topic)) ?? who).toBe(who);
        taken.set(collapse(topic), who);
      }
    }),
    { numRuns: 2_000 },
  );
});
