import { createHash } from 'node:crypto';
import type { TableName } from '#core/table-name.ts';

const LONGEST_TOPIC = 249;
const RESERVED_SCHEMAS: ReadonlySet<string> = new Set(['epochs', 'schemas', 'control', 'dlq', 'shaped', 'state']);

/** Topics of one stream of epochs: `<name>` for raw ones, `<name>.shaped.<output>.v<N>` for shaped ones. */
export function shapedPrefix(name: string, output: string, version: number): string {
  return `${name}.shaped.${output}.v${version}`;
}

/** Topics of what an output's rules remember: `<name>.state.<output>.v<N>`. */
export function statePrefix(name: string, output: string, version: number): string {
  return `${name}.state.${output}.v${version}`;
}

/** Whether a table's topic is of this stream of epochs: no schema's name begins as those of outputs do (RESERVED_SCHEMAS). */
export function isTopicOf(prefix: string, topic: string): boolean {
  const isOfOutput = topic.startsWith(`${prefix}.shaped.`) || topic.startsWith(`${prefix}.state.`);
  return topic.startsWith(`${prefix}.`) && (/\.shaped\./.test(prefix) || !isOfOutput);
}

export function epochsTopic(prefix: string): string {
  return `${prefix}.epochs`;
}

/** What lanes of a transformer made of each raw manifest, a partition a lane; put together to `<prefix>.epochs`. No table's topic has this name. */
export function sharesTopic(prefix: string): string {
  return `${prefix}.shares`;
}

export function schemasTopic(prefix: string): string {
  return `${prefix}.schemas`;
}

/** What could not go on, with its reason: of every service of the pipeline. */
export function deadLetterTopic(name: string): string {
  return `${name}.dlq`;
}

/** What became of dead letters of transformers, and why: one record for each that a command touched. */
export function auditTopic(name: string): string {
  return `${name}.dlq.audit`;
}

/** The dead letters of an output that wait (compacted): its transformer's own state, written in the Kafka transactions of its epochs. */
export function waitingTopic(name: string, output: string, version: number): string {
  return `${name}.state.${output}.v${version}.held`;
}

/** The copy of the migration journals of the pipeline's targets. */
export function journalTopic(name: string): string {
  return `${name}.journal`;
}

export function controlTopic(name: string): string {
  return `${name}.control`;
}

/**
 * The topic of a table: `<prefix>.<schema>.<table>`. Characters that Kafka forbids become `-XX` (their UTF-8 bytes in
 * hexadecimal), and `-` itself does, so the name reads back. Kafka holds names equal that differ only in `.` and
 * `_`; so a schema's `_` is escaped too, and no two tables meet. Longer than 249: cut, with a hash.
 */
export function tableTopic(prefix: string, name: TableName): string {
  const schema = RESERVED_SCHEMAS.has(name.schema)
    ? `-${name.schema.charCodeAt(0).toString(16).toUpperCase()}${escape(name.schema.slice(1), /[A-Za-z0-9]/)}`
    : escape(name.schema, /[A-Za-z0-9]/);
  const topic = `${prefix}.${schema}.${escape(name.table, /[A-Za-z0-9_]/)}`;
  if (topic.length <= LONGEST_TOPIC) return topic;
  const hash = createHash('sha256').update(topic).digest('hex').slice(0, 24);
  return `${topic.slice(0, LONGEST_TOPIC - hash.length - 2)}--${hash}`;
}

function escape(part: string, plain: RegExp): string {
  let out = '';
  for (const character of part) {
    if (plain.test(character)) out += character;
    else for (const byte of Buffer.from(character)) out += `-${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return out;
}
