import { RE2JS } from 're2js';
import { RestageError } from '#core/errors.ts';
import { ROUTED_BY, ROUTED_GROUP, type OutboxConfig } from '#core/outbox/outbox-config.ts';

const LONGEST_TOPIC = 249;
const LONGEST_SHOWN = 60;

/** The topics of an output's outbox tables. Rows name them, so a name is escaped, held to a number, and never one of the pipeline's own. */
export class OutboxTopics {
  readonly #pipeline: string;
  readonly #known = new Set<string>();
  /** Kafka holds names equal that differ only in `.` and `_`. */
  readonly #folded = new Map<string, string>();
  readonly #compiled = new Map<string, RE2JS>();

  /** `existing`: topics that Kafka has. */
  constructor(pipeline: string, existing: Iterable<string>) {
    this.#pipeline = pipeline;
    for (const topic of existing) this.#add(topic);
  }

  /** The topic of a row. @throws RestageError rule_failed. */
  take(routedBy: string | null, config: OutboxConfig, where: string): string {
    const fail = (what: string, fix: string): never => {
      throw new RestageError('rule_failed', `an outbox row names no topic: ${what}`, { where, fix });
    };
    if (routedBy === null || routedBy === '')
      return fail(`${config.routeField} is empty`, 'make the column NOT NULL, and give it a value in every row');
    const routed = this.#routedBy(routedBy, config);
    if (routed === null || routed === '')
      return fail(
        `${config.routeField} has nothing that route.topic.regex takes`,
        'correct the expression, which is held against the whole value',
      );
    const topic = config.topicReplacement.replace(ROUTED_BY, () => escape(routed));
    if (this.#known.has(topic)) return topic;
    const shown = topic.slice(0, LONGEST_SHOWN);
    if (topic.length > LONGEST_TOPIC) return fail(`${shown}… is longer than ${LONGEST_TOPIC}`, 'shorten the value');
    if (topic.startsWith(`${this.#pipeline}.`) || topic.startsWith('__'))
      return fail(`${shown} is not for events`, 'choose another route.topic.replacement');
    const twin = this.#folded.get(fold(topic));
    if (twin !== undefined) return fail(`Kafka cannot tell ${shown} from ${twin}`, 'use . or _ in one of them only');
    const prefix = config.topicReplacement.slice(0, config.topicReplacement.indexOf(ROUTED_BY));
    const count = [...this.#known].filter((one) => one.startsWith(prefix)).length;
    if (count >= config.maxTopics)
      return fail(
        `there are ${count} already, and ${shown} would be one more`,
        'raise outbox max.topics, if that is right',
      );
    this.#add(topic);
    return topic;
  }

  /** null: the value does not match. */
  #routedBy(value: string, { topicRegex }: OutboxConfig): string | null {
    if (topicRegex === null) return value;
    const known = this.#compiled.get(topicRegex) ?? RE2JS.compile(topicRegex);
    this.#compiled.set(topicRegex, known);
    const matcher = known.matcher(value);
    return matcher.matches() ? matcher.group(ROUTED_GROUP) : null;
  }

  #add(topic: string): void {
    this.#known.add(topic);
    this.#folded.set(fold(topic), topic);
  }
}

function fold(topic: string): string {
  return topic.replaceAll('.', '_');
}

/** What Kafka takes stays; any other character becomes `-XX`, its UTF-8 bytes in hexadecimal. */
function escape(text: string): string {
  let out = '';
  for (const character of text) {
    if (/^[A-Za-z0-9._-]$/.test(character)) out += character;
    else for (const byte of Buffer.from(character)) out += `-${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return out;
}
