import * as z from 'zod';
import { isBroker, isPostgresUrl } from '#core/address.ts';
import { DDL_OPTIONS } from '#core/ddl-options.ts';
import { DEBEZIUM_SOURCE_OPTIONS } from '#core/debezium-source/option-rows.ts';
import { DEBEZIUM_OPTIONS } from '#core/debezium/option-rows.ts';
import { MODULE_OPTIONS } from '#core/module/module-options.ts';
import { CUTOVER_OPTIONS } from '#core/migration/cutover-options.ts';
import { OUTPUT_REF } from '#core/output-ref.ts';
import { REHEARSAL_OPTIONS } from '#core/rehearsal/rehearsal-options.ts';
import { MASK_OPTIONS } from '#core/rules/mask-options.ts';
import { RULE_OPTIONS } from '#core/rules/rule-options.ts';
import { VALIDATION_OPTIONS } from '#core/rules/validation-options.ts';
import { TOPIC_OPTIONS } from '#core/topic-options.ts';
import { QUARANTINE_POLICIES } from '#core/quarantine.ts';
import { TARGET_OPTIONS } from '#core/target-options.ts';

/** One configuration key. The table below yields parser, defaults, JSON Schema, environment names and reference page. */
export interface Option {
  /** Dotted path; `[]` stands for a list's items, `*` for the keys that the user chooses. */
  readonly path: string;
  readonly type: z.ZodType;
  /** undefined: required; null: none, or made from other options (`derived` says how). */
  readonly default: unknown;
  readonly derived?: string;
  /** The variable that takes the place of the file's value; null inside lists. */
  readonly env: string | null;
  readonly about: string;
  readonly example: string;
}

const text = z.string().min(1);
const port = z.number().int().min(0).max(65_535);
const workers = z.number().int().min(1).max(64);
const bytes = z.number().int().min(1_024).max(268_435_456);
const partName = z
  .string()
  .regex(/^[a-z][a-z0-9_-]{0,39}$/, 'a name is a lower-case letter, then up to 39 of a-z, 0-9, _ and -');
/** PostgreSQL: "CREATE_REPLICATION_SLOT": lower-case letters, digits and underscores; 63 bytes at most. */
const slotName = z.string().regex(/^[a-z0-9_]{1,63}$/, 'a slot name is up to 63 of a-z, 0-9 and _');
const POSTGRES_URL = 'write it as postgresql://host:5432/database, with user:password@ before the host';
const BROKER = 'a broker is host:port';
const postgresUrl = z
  .string()
  .regex(/^postgres(ql)?:\/\//, { error: POSTGRES_URL, abort: true })
  .refine(isPostgresUrl, `it is not a URL: ${POSTGRES_URL}, special characters of user and password as %XX`);
const broker = z
  .string()
  .regex(/^.+:\d{1,5}$/, { error: BROKER, abort: true })
  .refine(isBroker, `${BROKER}, the port up to 65535, an IPv6 address in brackets`);
/** PostgreSQL cuts longer names without a word (PostgreSQL: "Identifiers and Key Words"). */
const identifier = z
  .string()
  .min(1)
  .max(63)
  .refine(
    (name) => Buffer.byteLength(name) <= 63 && !name.includes('\0'),
    'a name has up to 63 bytes, none of them zero',
  );
const tablePattern = z.string().regex(/^!?[^!]/, 'a pattern is schema.table with * and ?; ! before it excludes');
const profile = z.enum(['lossless', 'debezium']);

export const OPTIONS = [
  {
    path: 'name',
    type: partName,
    default: undefined,
    env: 'RESTAGE_NAME',
    example: 'shop',
    about: "The pipeline: prefix of its topics, slot, publication and groups. Never changes in a pipeline's life.",
  },
  {
    path: 'kafka.brokers',
    type: z.array(broker).min(1),
    default: undefined,
    env: 'RESTAGE_KAFKA_BROKERS',
    example: '["127.0.0.1:9092"]',
    about: 'Bootstrap brokers. In the environment: separated by commas.',
  },
  {
    path: 'kafka.ssl',
    type: z.boolean(),
    default: false,
    env: 'RESTAGE_KAFKA_SSL',
    example: 'true',
    about: 'Talk TLS to the brokers.',
  },
  {
    path: 'kafka.sasl.mechanism',
    type: z.enum(['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512']),
    default: null,
    env: 'RESTAGE_KAFKA_SASL_MECHANISM',
    example: 'SCRAM-SHA-512',
    about: 'How to authenticate; needs username and password.',
  },
  {
    path: 'kafka.sasl.username',
    type: text,
    default: null,
    env: 'RESTAGE_KAFKA_SASL_USERNAME',
    example: 'restage',
    about: 'User at the brokers.',
  },
  {
    path: 'kafka.sasl.password',
    type: text,
    default: null,
    env: 'RESTAGE_KAFKA_SASL_PASSWORD',
    example: '"${KAFKA_PASSWORD}"',
    about: 'Password at the brokers; best taken from the environment.',
  },
  ...TOPIC_OPTIONS,
  {
    path: 'kafka.registry.url',
    type: z.string().regex(/^https?:\/\/\S+$/, 'write it as http://host:8081'),
    default: null,
    env: 'RESTAGE_KAFKA_REGISTRY_URL',
    example: 'http://127.0.0.1:8081',
    about:
      "A schema registry with Confluent's API; `debezium.format: avro` needs one. User and password may stand before the host.",
  },
  {
    path: 'source.postgres.url',
    type: postgresUrl,
    default: undefined,
    env: 'RESTAGE_SOURCE_URL',
    example: '"${SOURCE_URL}"',
    about: 'The database to read; a role with LOGIN, REPLICATION and SELECT on the tables.',
  },
  {
    path: 'source.tables',
    type: z.array(tablePattern).min(1),
    default: ['*'],
    derived: 'every user table',
    env: 'RESTAGE_SOURCE_TABLES',
    example: '["public.*", "!public.audit_*"]',
    about: 'Globs over `schema.table` with `*` and `?`; `!` excludes; the last match decides.',
  },
  {
    path: 'source.partitions',
    type: z.enum(['leaves', 'roots']),
    default: 'leaves',
    env: 'RESTAGE_SOURCE_PARTITIONS',
    example: 'roots',
    about:
      "`leaves`: every partition is a table of its own. `roots`: a partitioned table is one table, whatever partitions it has, here and at the targets. Never changes in a pipeline's life.",
  },
  {
    path: 'source.publication',
    type: identifier,
    default: null,
    derived: '`restage_<name>`, with `-` written as `_`',
    env: 'RESTAGE_SOURCE_PUBLICATION',
    example: 'restage_shop',
    about: 'The publication to read: one that its owner made, or the one that Restage makes.',
  },
  {
    path: 'source.slot',
    type: slotName,
    default: null,
    derived: '`restage_<name>`, with `-` written as `_`',
    env: 'RESTAGE_SOURCE_SLOT',
    example: 'restage_shop',
    about: 'The logical replication slot.',
  },
  {
    path: 'source.snapshotWorkers',
    type: workers,
    default: 2,
    env: 'RESTAGE_SOURCE_SNAPSHOT_WORKERS',
    example: '4',
    about: 'Sessions that read the initial load side by side.',
  },
  ...DDL_OPTIONS,
  {
    path: 'source.heartbeatMs',
    type: z.number().int().min(100).max(600_000),
    default: 10_000,
    env: 'RESTAGE_SOURCE_HEARTBEAT_MS',
    example: '10000',
    about: 'At rest, the position is written to Kafka and confirmed to the slot this often. Milliseconds.',
  },
  {
    path: 'source.keepSnapshotMinutes',
    type: z.number().min(0).max(10_080),
    default: 10,
    env: 'RESTAGE_SOURCE_KEEP_SNAPSHOT_MINUTES',
    example: '60',
    about:
      'How long a process of its own keeps the snapshot of an unfinished load while no producer runs, so that the next one goes on with the chunks that are missing. Until then vacuum at the source removes no row that was deleted since. `0`: the snapshot ends with the producer.',
  },
  {
    path: 'source.walBudget.bytes',
    type: z
      .number()
      .int()
      .min(16 * 1024 * 1024),
    default: 10 * 1024 * 1024 * 1024,
    env: 'RESTAGE_SOURCE_WAL_BUDGET_BYTES',
    example: '53687091200',
    about:
      'How much WAL the slot may keep before log, status and metrics say so. Well below the free room on the disk of the source.',
  },
  {
    path: 'source.walBudget.whenFull',
    type: z.enum(['wait', 'release']),
    default: 'wait',
    env: 'RESTAGE_SOURCE_WAL_BUDGET_WHEN_FULL',
    example: 'release',
    about:
      'What happens then: only the alarm, or the slot is given up so that the source keeps its disk. After that the pipeline cannot go on.',
  },
  {
    path: 'source.profile',
    type: profile,
    default: 'lossless',
    env: 'RESTAGE_SOURCE_PROFILE',
    example: 'debezium',
    about:
      "How the raw topics' events are written: exactly, for Restage's own services, or as Debezium writes them, for Debezium's consumers. With `debezium` no output and no target reads them.",
  },
  ...MASK_OPTIONS,
  ...DEBEZIUM_SOURCE_OPTIONS,
  {
    path: 'transform.outputs[].name',
    type: partName,
    default: undefined,
    env: null,
    example: 'main',
    about: "The output: part of its topics' names, `<name>.shaped.<output>.v<version>.…`.",
  },
  {
    path: 'transform.outputs[].version',
    type: z.number().int().min(1).max(9_999),
    default: 1,
    env: null,
    example: '2',
    about: 'Raise it when rules change: the new version is made from history beside the old one, which may stay.',
  },
  {
    path: 'transform.outputs[].tables',
    type: z.array(tablePattern).min(1),
    default: null,
    derived: 'every captured table',
    env: null,
    example: '["billing.*", "public.customers"]',
    about:
      'The captured tables that it takes, as `source.tables` chooses them: so tables are routed to outputs. Rules, checks and the module name no other; look-ups may.',
  },
  {
    path: 'transform.outputs[].profile',
    type: profile,
    default: 'lossless',
    env: null,
    example: 'debezium',
    about: "How its shaped topics' events are written. No target reads an output with `debezium`.",
  },
  {
    path: 'transform.outputs[].ordering',
    type: z.enum(['transaction', 'key']),
    default: 'transaction',
    env: null,
    example: 'key',
    about:
      'Who shapes it: one instance at a time; or (`key`) several, which share the partitions of kafka.topics.partitions. Only where rules take each row by itself and keep its key; never changes for a version of the output (docs/ordering.md).',
  },
  {
    path: 'transform.outputs[].quarantine',
    type: z.enum(QUARANTINE_POLICIES),
    default: 'stop',
    env: null,
    example: 'transaction',
    about:
      'What becomes of a change that a rule, a cast or the module cannot take: the transformer stops; or the whole source transaction waits as dead letters; or the row change alone does, which gives up whole transactions (docs/quarantine.md).',
  },
  {
    path: 'transform.outputs[].laterChanges',
    type: z.enum(['wait', 'pass']),
    default: 'wait',
    env: null,
    example: 'pass',
    about:
      'What later changes of a row do whose change waits by itself (`row`): they wait behind it, or the row as it is now passes, where the rules take it, and the dead letters end (docs/quarantine.md).',
  },
  ...MODULE_OPTIONS,
  ...RULE_OPTIONS,
  ...VALIDATION_OPTIONS,
  ...DEBEZIUM_OPTIONS,
  {
    path: 'targets[].name',
    type: partName,
    default: undefined,
    env: null,
    example: 'new',
    about: 'The target, as commands name it with `--target`.',
  },
  {
    path: 'targets[].postgres.url',
    type: postgresUrl,
    default: undefined,
    env: null,
    example: '"${TARGET_URL}"',
    about: 'The database to write.',
  },
  {
    path: 'targets[].output',
    type: z.string().regex(OUTPUT_REF, 'an output is its name, or name@version'),
    default: null,
    derived: 'the only output, or the raw topics when there is none',
    env: null,
    example: 'main',
    about: 'Which output it takes; `main@2` where the output has several versions.',
  },
  ...TARGET_OPTIONS,
  ...REHEARSAL_OPTIONS,
  ...CUTOVER_OPTIONS,
  {
    path: 'http.host',
    type: text,
    default: '127.0.0.1',
    env: 'RESTAGE_HTTP_HOST',
    example: '127.0.0.1',
    about: "Address of each service's HTTP endpoints: health, metrics, status.",
  },
  {
    path: 'http.port',
    type: port,
    default: 0,
    env: 'RESTAGE_HTTP_PORT',
    example: '8080',
    about:
      'Their port; 0 takes any free one, which `restage status` prints. Under `restage run` the producer takes it, the others any free one.',
  },
  {
    path: 'epoch.bytes',
    type: bytes,
    default: 4_194_304,
    env: 'RESTAGE_EPOCH_BYTES',
    example: '4194304',
    about: 'An epoch closes at the first commit past this many bytes of events.',
  },
  {
    path: 'epoch.lingerMs',
    type: z.number().int().min(0).max(10_000),
    default: null,
    env: 'RESTAGE_EPOCH_LINGER_MS',
    example: '20',
    about:
      'An epoch closes when its oldest event has waited this long, in milliseconds. Absent: by measurement, at once while the source is quiet, and later the longer Kafka takes for a transaction.',
  },
  {
    path: 'epoch.partBytes',
    type: bytes,
    default: 16_777_216,
    env: 'RESTAGE_EPOCH_PART_BYTES',
    example: '16777216',
    about: 'A transaction with more bytes of events than this is written in parts.',
  },
] as const satisfies readonly Option[];

type OptionRow = (typeof OPTIONS)[number];
export type OptionPath = OptionRow['path'];
type RowOf<P extends OptionPath> = Extract<OptionRow, { path: P }>;
type Given<P extends OptionPath> = z.output<RowOf<P>['type']>;
/** What an option holds once defaults are in: null where it may be absent; a map where the user chooses the keys. */
export type OptionValue<P extends OptionPath> =
  | (P extends `${string}.*` ? ReadonlyMap<string, Given<P>> : Given<P>)
  | (RowOf<P>['default'] extends null ? null : never);

/** Lists that must have an entry; others may be left out. Targets too, but where only other consumers read (config-load.ts). */
export const REQUIRED_LISTS: ReadonlySet<string> = new Set(['targets[]']);
