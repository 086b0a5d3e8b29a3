import type { DebeziumSourceConfig } from '#core/debezium-source/options.ts';
import type { Profile } from '#core/debezium/options.ts';
import type { HookConfig } from '#core/migration/hook.ts';
import type { ModuleConfig } from '#core/module/module-config.ts';
import type { CaptureColumns } from '#core/rules/mask-config.ts';
import type { MaskKeys } from '#core/rules/values/mask-types.ts';
import type { QuarantinePolicy } from '#core/quarantine.ts';
import type { RehearsalConfig } from '#core/rehearsal/rehearsal-config.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import type { ValidationConfig } from '#core/rules/validation-config.ts';

/** A checked configuration: every key has its value, every `${VAR}` is resolved. Built by config-load.ts from option-table.ts. */
export interface Config {
  readonly name: string;
  /** The file it came from, for messages. */
  readonly file: string;
  readonly kafka: KafkaConfig;
  readonly source: SourceConfig;
  readonly outputs: readonly OutputConfig[];
  readonly targets: readonly TargetConfig[];
  readonly http: HttpConfig;
  readonly epoch: EpochConfig;
  /** Who is told of a switch. Absent is nobody. */
  readonly hook?: HookConfig | null;
  /** Names of targets that are switched as one, in their order. Absent: each by itself. */
  readonly together?: readonly string[];
  /** Secrets of masks by their ids (`masks.keys`). Absent is none. */
  readonly maskKeys?: MaskKeys;
  /** Clones for rehearsals. Absent is none. */
  readonly rehearsal?: RehearsalConfig;
}

export interface KafkaConfig {
  readonly brokers: readonly string[];
  readonly ssl: boolean;
  readonly sasl: { readonly mechanism: string; readonly username: string; readonly password: string } | null;
  readonly replicationFactor: number;
  /** Of each table's topic. Absent is one. */
  readonly partitions?: number;
  /** A Confluent-compatible schema registry; only Avro needs one. */
  readonly registryUrl?: string | null;
}

/** `leaves`: each partition is a table; `roots`: the partitioned table is one, its partitions are none. */
export type PartitionView = 'leaves' | 'roots';

export interface SourceConfig {
  /** '' where Debezium reads the source. */
  readonly url: string;
  /** Globs, `!` excludes, in order; `public.*`. */
  readonly tables: readonly string[];
  /** Which tables a partitioned one is to the pipeline. */
  readonly partitions: PartitionView;
  /** An owner-made publication's name, or the one that Restage makes. */
  readonly publication: string;
  readonly slot: string;
  readonly snapshotWorkers: number;
  readonly heartbeatMs: number;
  readonly onRewrite: 'stop' | 'snapshot';
  /** Whether a producer makes event triggers that tell of DDL where it may. Absent is `auto`. */
  readonly ddlTrigger?: 'auto' | 'off';
  /** How long the load's snapshot is kept while no producer runs; 0: it ends with the producer. */
  readonly keepSnapshotMinutes: number;
  readonly walBudget: WalBudgetConfig;
  /** Of the raw topics. Absent is null. */
  readonly profile?: Profile;
  /** What happens to columns at capture. Absent is none. */
  readonly columns?: readonly CaptureColumns[];
  /** Topics that a Debezium connector writes, instead of a source of our own. Absent is null. */
  readonly debezium?: DebeziumSourceConfig | null;
  /** Its rows are at the target already: the load brings none. Of the way back of a migration. Absent is false. */
  readonly isBaseline?: boolean;
}

export interface WalBudgetConfig {
  /** WAL that the slot may keep. */
  readonly bytes: number;
  /** Above it: say so, or give the slot up. */
  readonly whenFull: 'wait' | 'release';
}

/** Whether whole transactions keep their order, by one instance, or keys alone, by several. */
export type Ordering = 'transaction' | 'key';

export interface OutputConfig {
  readonly name: string;
  readonly version: number;
  /** Which captured tables it takes: patterns as of `source.tables`. Absent: all of them. */
  readonly tables?: readonly string[];
  /** Of its shaped topics. Absent is null. */
  readonly profile?: Profile;
  readonly rules: readonly RuleConfig[];
  /** Absent is null. */
  readonly module?: ModuleConfig | null;
  /** `key`: several instances share it, a partition each. Absent is `transaction`. */
  readonly ordering?: Ordering;
  /** What is to hold of rows before any rule. Absent: nothing. */
  readonly validations?: readonly ValidationConfig[];
  /** What becomes of a change that the rules do not take. Absent is `stop`. */
  readonly quarantine?: QuarantinePolicy;
  /** Of a row whose change waits by itself. Absent is `wait`. */
  readonly laterChanges?: 'wait' | 'pass';
}

export interface TargetConfig {
  readonly name: string;
  readonly url: string;
  /** An output as core/output-ref.ts names it, or null for the raw topics. */
  readonly output: string | null;
  readonly schema: 'require' | 'create' | 'copy';
  readonly loadWorkers: number;
  /** What becomes of a change that the target refuses. Absent is `stop`. */
  readonly quarantine?: QuarantinePolicy;
  /** What stays in order: whole transactions, or the changes of a row. Absent is `transaction`. */
  readonly ordering?: Ordering;
  /** How many lanes `key` has. Absent is one. */
  readonly lanes?: number;
  /** Processes of `restage run` that share the lanes. Absent is one. */
  readonly instances?: number;
  /** Whether a cutover copies them. Absent is `copy`. */
  readonly largeObjects?: 'copy' | 'leave';
}

export interface HttpConfig {
  readonly host: string;
  /** 0 takes any free port; services publish theirs in the control topic. */
  readonly port: number;
}

export interface EpochConfig {
  /** An epoch closes at the first commit past this many bytes of events … */
  readonly bytes: number;
  /** … or when its oldest event has waited this long; null: by measurement (EpochPace). */
  readonly lingerMs: number | null;
  /** A transaction larger than this is cut into parts. */
  readonly partBytes: number;
}

/** Whether anything of the pipeline has profile `debezium`. */
export function hasDebezium({ source, outputs }: Config): boolean {
  return (source.profile ?? null) !== null || outputs.some((output) => (output.profile ?? null) !== null);
}
