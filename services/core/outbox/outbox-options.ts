import { RE2JS } from 're2js';
import * as z from 'zod';
import type { Option } from '#core/option-table.ts';
import { parsePlacements, ROUTED_BY, ROUTED_GROUP } from '#core/outbox/outbox-config.ts';

const text = z.string().min(1);
/** The part before the value keeps data from naming any topic it likes. */
const replacement = z
  .string()
  .refine(
    (given) => /^[A-Za-z0-9._-]*[A-Za-z0-9][._-]\$\{routedByValue\}[A-Za-z0-9._-]*$/.test(given),
    `write it as outbox.event.$${ROUTED_BY}: a part of its own, then . or - or _, then the value`,
  );

const regex = text.refine(
  hasRoutedGroup,
  `write it in RE2's syntax with a group named ${ROUTED_GROUP}: (?<${ROUTED_GROUP}>.*)`,
);

function hasRoutedGroup(given: string): boolean {
  try {
    return Object.hasOwn(RE2JS.compile(given).namedGroups(), ROUTED_GROUP);
  } catch {
    return false;
  }
}

/** What a rule may say of an outbox table; below `outbox` each has the name that Debezium's EventRouter has for it. */
export const OUTBOX_OPTIONS = [
  {
    path: 'transform.outputs[].rules[].outbox.table.field.event.id',
    type: text,
    default: 'id',
    env: null,
    example: 'id',
    about:
      'An outbox table: its new rows are events on topics of their own. This column becomes the header `id`. See docs/outbox.md.',
  },
  {
    path: 'transform.outputs[].rules[].outbox.table.field.event.key',
    type: text,
    default: 'aggregateid',
    env: null,
    example: 'aggregateid',
    about: "The column that becomes the event's key.",
  },
  {
    path: 'transform.outputs[].rules[].outbox.table.field.event.payload',
    type: text,
    default: 'payload',
    env: null,
    example: 'payload',
    about: "The column that becomes the event's value, as it is stored.",
  },
  {
    path: 'transform.outputs[].rules[].outbox.table.fields.additional.placement',
    type: text.refine(
      (given) => parsePlacements(given) !== null,
      'write it as field:header or field:envelope:alias, with commas between',
    ),
    default: null,
    env: null,
    example: '"type:header:eventType"',
    about:
      'Further columns, as headers or beside the payload: `field:header:alias` or `field:envelope:alias`, with commas.',
  },
  {
    path: 'transform.outputs[].rules[].outbox.route.by.field',
    type: text,
    default: 'aggregatetype',
    env: null,
    example: 'aggregatetype',
    about: 'The column that decides the topic.',
  },
  {
    path: 'transform.outputs[].rules[].outbox.route.topic.regex',
    type: regex,
    default: null,
    env: null,
    example: '"[a-z]+-(?<routedByValue>.*)"',
    about: "What of that column's value goes into the topic's name: its group `routedByValue`. By default all of it.",
  },
  {
    path: 'transform.outputs[].rules[].outbox.route.topic.replacement',
    type: replacement,
    default: `outbox.event.${ROUTED_BY}`,
    env: null,
    example: '"outbox.event.$${routedByValue}"',
    about: "The topic's name; `$${routedByValue}` in the file, for `${…}` alone is the environment's.",
  },
  {
    path: 'transform.outputs[].rules[].outbox.route.tombstone.on.empty.payload',
    type: z.boolean(),
    default: false,
    env: null,
    example: 'true',
    about: 'A row without payload is a tombstone for its key; else an event with an empty value.',
  },
  {
    path: 'transform.outputs[].rules[].outbox.table.expand.json.payload',
    type: z.boolean(),
    default: false,
    env: null,
    example: 'true',
    about: 'Beside columns in the envelope, a payload that is a JSON object or array stands as such and not as a text.',
  },
  {
    path: 'transform.outputs[].rules[].outbox.table.op.invalid.behavior',
    type: z.enum(['warn', 'error', 'fatal']),
    default: 'warn',
    env: null,
    example: 'fatal',
    about: 'What an UPDATE of the table is: a warning or an error in the log, or the end of the transformer.',
  },
  {
    path: 'transform.outputs[].rules[].outbox.max.topics',
    type: z.number().int().min(1).max(10_000),
    default: 100,
    env: null,
    example: '500',
    about: 'How many topics there may be of it, for rows name them. A row that would make one more fails.',
  },
] as const satisfies readonly Option[];
