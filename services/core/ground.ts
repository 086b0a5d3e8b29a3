import * as z from 'zod';
import { RestageError } from '#core/errors.ts';

/**
 * What a pipeline stands on and cannot see in its data: which Kafka, which topics, which publication. Kept on `<prefix>.schemas`, so that
 * what was altered and altered back, or made again under the same name, is known from one life to the next.
 */
const groundSchema = z.object({
  /** Names the Kafka cluster; null where the broker does not say. */
  cluster: z.string().nullable(),
  /** Kafka's own id of each topic: one that is made again has another. */
  topics: z.record(z.string(), z.string()),
  /** How many partitions each table's topic was made with; absent is one. */
  partitions: z.number().int().optional(),
  /** null for a transformer's, which does not see the source, and where the next start is to take it as it is then. */
  publication: z
    .object({
      name: z.string(),
      /** Number and version of its row in the source's catalog: any ALTER of its options or owner makes another. */
      self: z.string(),
      /** By topic: number and version of the rows that put the table into it, and the table's own number. */
      tables: z.record(z.string(), z.string()),
    })
    .nullable(),
});

export type Ground = z.infer<typeof groundSchema>;

const GROUND_KEY = JSON.stringify(['ground']);

/** As it stands on `<prefix>.schemas`: readers of structures pass over a record with `current`. */
export function groundRecord(ground: Ground): { readonly key: string; readonly value: string } {
  return { key: GROUND_KEY, value: JSON.stringify({ current: null, ground }) };
}

/** The ground among the values of `<prefix>.schemas`; null where none was written yet. @throws RestageError record_invalid. */
export function findGround(records: ReadonlyMap<string, Buffer>): Ground | null {
  const value = records.get(GROUND_KEY);
  if (value === undefined) return null;
  try {
    return z.object({ ground: groundSchema }).parse(JSON.parse(value.toString('utf8'))).ground;
  } catch (cause) {
    throw new RestageError('record_invalid', 'the record of what the pipeline stands on is damaged', {
      where: 'key ["ground"] on the topic of structures',
      cause,
    });
  }
}

/** @throws RestageError kafka_replaced, history_lost when a topic is gone or another one has its name. */
export function requireSameKafka(known: Ground, found: Pick<Ground, 'cluster' | 'topics'>): void {
  if (known.cluster !== null && found.cluster !== null && known.cluster !== found.cluster) {
    throw new RestageError('kafka_replaced', 'another Kafka cluster answers at kafka.brokers', {
      where: `cluster ${found.cluster}, the pipeline's is ${known.cluster}`,
      fix: "correct kafka.brokers; in a new cluster start a pipeline of another name: offsets of copied topics are not the original's",
    });
  }
  const topics = Object.entries(known.topics);
  const gone = topics.filter(([topic]) => found.topics[topic] === undefined).map(([topic]) => topic);
  if (gone.length > 0) throw topicsLost('were deleted', gone);
  const again = topics.filter(([topic, id]) => found.topics[topic] !== id).map(([topic]) => topic);
  if (again.length > 0) throw topicsLost('were deleted and made again', again);
}

/** What of a ground says so; what was written before there was a choice says nothing. */
export function withPartitions(partitions: number): Pick<Ground, 'partitions'> {
  return partitions === 1 ? {} : { partitions };
}

/** @throws RestageError config_invalid: a key's events would go on in another partition, beside what is there of them. */
export function requireSamePartitions({ partitions = 1 }: Ground, configured: number): void {
  if (partitions === configured) return;
  throw new RestageError(
    'config_invalid',
    `kafka.topics.partitions is ${configured}, and this pipeline began with ${partitions}`,
    {
      fix: `set kafka.topics.partitions: ${partitions}; another number needs a pipeline of another name`,
    },
  );
}

function topicsLost(what: string, topics: readonly string[]): RestageError {
  return new RestageError('history_lost', `topics of this pipeline ${what}: what they held is gone`, {
    where: listed(topics),
    fix: 'start the pipeline anew under another name, with empty targets',
  });
}

/**
 * While a publication is altered the server leaves out what it does not publish, and says so nowhere; altered back, it looks as before.
 * Tables that only one side knows are no alteration: they came to the pipeline or left it.
 * @throws RestageError publication_altered.
 */
export function requireSamePublication(known: Ground, found: Ground): void {
  const [was, is] = [known.publication, found.publication];
  if (was === null) return;
  if (is === null) throw altered(was.name, 'is gone');
  if (was.name !== is.name) throw altered(was.name, `is not the one that is configured now: ${is.name}`);
  if (was.self !== is.self) throw altered(was.name, 'was altered, or dropped and made again');
  // A table that was published before under another name is the same one, renamed.
  const rows = new Set(Object.values(was.tables));
  const tables = Object.entries(is.tables)
    .filter(([topic, row]) => was.tables[topic] !== undefined && !rows.has(row))
    .map(([topic]) => topic);
  if (tables.length > 0)
    throw altered(was.name, 'was altered, or tables were dropped and made again', `topics ${listed(tables)}`);
}

function altered(name: string, what: string, more = ''): RestageError {
  return new RestageError(
    'publication_altered',
    `the publication ${name} ${what}: changes of that time may be missing`,
    {
      where: `publication ${name}${more === '' ? '' : `: ${more}`}`,
      fix: 'start the pipeline anew under another name; where nothing was written meanwhile, or verify finds nothing: restage accept -c FILE',
    },
  );
}

function listed(names: readonly string[]): string {
  return names.slice(0, 5).join(', ') + (names.length > 5 ? ` and ${names.length - 5} more` : '');
}
