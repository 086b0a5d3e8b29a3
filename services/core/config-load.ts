import { databaseOf } from '#core/address.ts';
import type { Environment } from '#core/config-expand.ts';
import { parseConfig } from '#core/config-parse.ts';
import type { Config, KafkaConfig, OutputConfig, TargetConfig } from '#core/config.ts';
import { readRules } from '#core/rules/rule-load.ts';
import { readValidations, type ValidationConfig } from '#core/rules/validation-config.ts';
import { checkDebeziumSource, readDebeziumSource } from '#core/debezium-source/config-load.ts';
import type { DebeziumOptions, Profile } from '#core/debezium/options.ts';
import { RestageError } from '#core/errors.ts';
import { readHook, readTogether } from '#core/migration/hook-load.ts';
import { nearest } from '#core/nearest.ts';
import { OptionReader } from '#core/option-reader.ts';
import { readCaptureColumns, readMaskKeys } from '#core/rules/mask-config.ts';
import { readRehearsal } from '#core/rehearsal/rehearsal-load.ts';
import { findOutput, matchOutputs, outputRef } from '#core/output-ref.ts';

/**
 * A configuration from its text. `file` is for messages; nothing is read from disk.
 * @throws RestageError config_invalid with every problem, each as `file:line:column: what`; never a value.
 */
export function loadConfig(text: string, file: string, env: Environment): Config {
  const parsed = parseConfig(text, file, env);
  const reader = new OptionReader(parsed);
  const debezium = readDebezium(reader);
  const raw = reader.get('source.profile') === 'debezium' ? debezium : null;
  const outputs = readOutputs(reader, debezium);
  const targets = readTargets(reader, outputs);
  const theirs = readDebeziumSource(reader);
  if (theirs === null) checkProfiles(reader, raw, outputs, targets);
  else checkDebeziumSource(reader, outputs, raw, targets);
  const kafka = readKafka(reader);
  const columns = readCaptureColumns(reader);
  const rehearsal = readRehearsal(reader);
  if (parsed.problems.length > 0) throw invalid(parsed.problems, file);
  const name = reader.get('name');
  const ownName = `restage_${name.replaceAll('-', '_')}`;
  return {
    name,
    file,
    kafka,
    source: {
      url: theirs === null ? reader.get('source.postgres.url') : '',
      tables: reader.get('source.tables'),
      partitions: reader.get('source.partitions'),
      publication: reader.get('source.publication') ?? ownName,
      slot: reader.get('source.slot') ?? ownName,
      snapshotWorkers: reader.get('source.snapshotWorkers'),
      heartbeatMs: reader.get('source.heartbeatMs'),
      onRewrite: reader.get('source.onRewrite'),
      ddlTrigger: reader.get('source.ddlTrigger'),
      keepSnapshotMinutes: reader.get('source.keepSnapshotMinutes'),
      walBudget: { bytes: reader.get('source.walBudget.bytes'), whenFull: reader.get('source.walBudget.whenFull') },
      profile: raw,
      ...(columns.length === 0 ? {} : { columns }),
      ...(theirs === null ? {} : { debezium: theirs }),
    },
    outputs,
    targets: theirs === null ? targets : targets.map((target) => ({ ...target, schema: 'require' as const })),
    http: { host: reader.get('http.host'), port: reader.get('http.port') },
    epoch: {
      bytes: reader.get('epoch.bytes'),
      lingerMs: reader.get('epoch.lingerMs'),
      partBytes: reader.get('epoch.partBytes'),
    },
    ...readHook(reader),
    ...readTogether(reader, targets),
    ...readMaskKeys(reader),
    ...(rehearsal === null ? {} : { rehearsal }),
  };
}

function readKafka(reader: OptionReader): KafkaConfig {
  const mechanism = reader.get('kafka.sasl.mechanism');
  const username = reader.get('kafka.sasl.username');
  const password = reader.get('kafka.sasl.password');
  const isComplete = mechanism !== null && username !== null && password !== null;
  if (!isComplete && (mechanism !== null || username !== null || password !== null)) {
    reader.report('kafka.sasl.mechanism', [], 'kafka.sasl needs mechanism, username and password together');
  }
  return {
    brokers: reader.get('kafka.brokers'),
    ssl: reader.get('kafka.ssl'),
    sasl: isComplete ? { mechanism, username, password } : null,
    replicationFactor: reader.get('kafka.topics.replicationFactor'),
    partitions: reader.get('kafka.topics.partitions'),
    registryUrl: reader.get('kafka.registry.url'),
  };
}

function readDebezium(reader: OptionReader): DebeziumOptions {
  return {
    format: reader.get('debezium.format'),
    schemasEnable: reader.get('debezium.schemas.enable'),
    decimalHandlingMode: reader.get('debezium.decimal.handling.mode'),
    timePrecisionMode: reader.get('debezium.time.precision.mode'),
    intervalHandlingMode: reader.get('debezium.interval.handling.mode'),
    binaryHandlingMode: reader.get('debezium.binary.handling.mode'),
    hstoreHandlingMode: reader.get('debezium.hstore.handling.mode'),
    tombstonesOnDelete: reader.get('debezium.tombstones.on.delete'),
    provideTransactionMetadata: reader.get('debezium.provide.transaction.metadata'),
    unavailableValuePlaceholder: reader.get('debezium.unavailable.value.placeholder'),
    skippedOperations: reader.get('debezium.skipped.operations'),
    extendedHeadersEnabled: reader.get('debezium.extended.headers.enabled'),
    heartbeatIntervalMs: reader.get('debezium.heartbeat.interval.ms'),
  };
}

/** Restage's own transformer and sinks read profile `lossless` only: the other one has lost values (invariant 5). */
function checkProfiles(
  reader: OptionReader,
  raw: Profile,
  outputs: readonly OutputConfig[],
  targets: readonly TargetConfig[],
): void {
  if (raw !== null && (outputs.length > 0 || targets.length > 0)) {
    const what =
      "outputs and targets read raw topics of profile lossless; keep it, and give Debezium's consumers an output";
    reader.report('source.profile', [], `${what} of their own with profile: debezium`);
  }
  for (const [at, { output }] of targets.entries()) {
    if (findOutput(outputs, output)?.profile != null)
      reader.report('targets[].output', [at], `a target reads profile lossless, and output "${output}" has debezium`);
  }
  const isShaped = outputs.some((output) => (output.profile ?? null) !== null);
  if (isShaped) checkShapedOptions(reader);
  const isUsed = raw !== null || isShaped;
  if (isUsed && reader.get('debezium.format') === 'avro' && reader.get('kafka.registry.url') === null)
    reader.report('debezium.format', [], 'avro needs a schema registry: give kafka.registry.url');
}

/** A shaped topic has the rows' events, no others. */
function checkShapedOptions(reader: OptionReader): void {
  const only = 'only raw topics have it: source.profile: debezium';
  if (reader.get('debezium.provide.transaction.metadata'))
    reader.report('debezium.provide.transaction.metadata', [], only);
  if (reader.get('debezium.skipped.operations') === 'none') reader.report('debezium.skipped.operations', [], only);
  if (reader.get('debezium.heartbeat.interval.ms') > 0) reader.report('debezium.heartbeat.interval.ms', [], only);
}

function readOutputs(reader: OptionReader, debezium: DebeziumOptions): OutputConfig[] {
  const outputs: OutputConfig[] = [];
  for (let at = 0; at < reader.count('transform.outputs[]'); at += 1) {
    const name = reader.get('transform.outputs[].name', at);
    const version = reader.get('transform.outputs[].version', at);
    if (name !== undefined && outputs.some((output) => output.name === name && output.version === version))
      reader.report('transform.outputs[].name', [at], `a second output named "${name}" with version ${version}`);
    const validations = readValidations(reader, at);
    const tables = reader.get('transform.outputs[].tables', at);
    const profile = reader.get('transform.outputs[].profile', at) === 'debezium' ? debezium : null;
    outputs.push({
      name,
      version,
      ...(tables === null ? {} : { tables }),
      profile,
      rules: readRules(reader, at),
      ...readModule(reader, at),
      ...(validations.length === 0 ? {} : { validations }),
      ...(reader.get('transform.outputs[].ordering', at) === 'key' ? { ordering: 'key' as const } : {}),
      quarantine: reader.get('transform.outputs[].quarantine', at),
      laterChanges: readLaterChanges(reader, at, validations),
    });
  }
  return outputs;
}

/** A row of a transaction that waits whole cannot go on without it. */
function readLaterChanges(
  reader: OptionReader,
  at: number,
  validations: readonly ValidationConfig[],
): NonNullable<OutputConfig['laterChanges']> {
  const laterChanges = reader.get('transform.outputs[].laterChanges', at);
  const isOfRows =
    reader.get('transform.outputs[].quarantine', at) === 'row' || validations.some((one) => one.onFailure === 'row');
  if (laterChanges === 'pass' && !isOfRows)
    reader.report(
      'transform.outputs[].laterChanges',
      [at],
      'pass is for rows that wait by themselves: quarantine: row',
    );
  return laterChanges;
}

function readModule(reader: OptionReader, at: number): Pick<OutputConfig, 'module'> {
  const file = reader.get('transform.outputs[].module', at);
  const memoryMb = reader.get('transform.outputs[].moduleLimits.memoryMb', at);
  const batchMs = reader.get('transform.outputs[].moduleLimits.batchMs', at);
  if (file !== null) return { module: { file, memoryMb, batchMs } };
  if (reader.isGiven(`transform.outputs[${at}].moduleLimits`))
    reader.report('transform.outputs[].module', [at], 'moduleLimits are those of a module: name it');
  return {};
}

function readTargets(reader: OptionReader, outputs: readonly OutputConfig[]): TargetConfig[] {
  const targets: TargetConfig[] = [];
  for (let at = 0; at < reader.count('targets[]'); at += 1) {
    const name = reader.get('targets[].name', at);
    if (name !== undefined && targets.some((target) => target.name === name)) {
      reader.report('targets[].name', [at], `a second target named "${name}"`);
    }
    const url = reader.get('targets[].postgres.url', at);
    const twin = targets.find((target) => isSameDatabase(target.url, url));
    if (twin !== undefined)
      reader.report('targets[].postgres.url', [at], `the same database as target "${twin.name}"; each needs its own`);
    targets.push({
      name,
      url,
      output: readTargetOutput(reader, at, outputs),
      schema: reader.get('targets[].schema', at),
      loadWorkers: reader.get('targets[].loadWorkers', at),
      quarantine: reader.get('targets[].quarantine', at),
      ...readOrdering(reader, at),
      largeObjects: reader.get('targets[].largeObjects', at),
    });
  }
  return targets;
}

/** Lanes know nothing of each other, so nothing can wait behind what one of them leaves out. */
function readOrdering(reader: OptionReader, at: number): Pick<TargetConfig, 'ordering' | 'lanes' | 'instances'> {
  const ordering = reader.get('targets[].ordering', at);
  const lanes = reader.get('targets[].lanes', at);
  const instances = reader.get('targets[].instances', at);
  if (ordering !== 'key') {
    if (lanes !== null) reader.report('targets[].lanes', [at], 'only ordering: key has lanes');
    if (instances > 1)
      reader.report('targets[].instances', [at], 'only ordering: key shares the work: set it, or leave instances out');
    return { ordering };
  }
  if (reader.get('targets[].quarantine', at) !== 'stop')
    reader.report(
      'targets[].quarantine',
      [at],
      'ordering: key leaves nothing out: quarantine: stop, or ordering: transaction',
    );
  return { ordering, lanes: lanes ?? reader.get('kafka.topics.partitions'), instances };
}

function readTargetOutput(reader: OptionReader, at: number, all: readonly OutputConfig[]): string | null {
  const outputs = all.map((one) => outputRef(all, one));
  const output = reader.get('targets[].output', at);
  if (output === null) {
    const [only, ...others] = all.filter(({ profile }) => (profile ?? null) === null).map((one) => outputRef(all, one));
    if (others.length > 0) reader.report('targets[].output', [at], `say which of the outputs: ${outputs.join(', ')}`);
    return only ?? null;
  }
  const [meant, ...others] = matchOutputs(all, output);
  if (others.length > 0)
    reader.report('targets[].output', [at], `say which version of "${output}": ${outputs.join(', ')}`);
  if (meant === undefined) {
    const close = nearest(output, outputs);
    const hint = close === null ? `outputs: ${outputs.join(', ') || 'none'}` : `did you mean "${close}"?`;
    reader.report('targets[].output', [at], `no output is named "${output}"; ${hint}`);
  }
  return output;
}

/** Two sinks of one pipeline in one database would share its checkpoint. */
function isSameDatabase(one: string | undefined, other: string | undefined): boolean {
  const database = one === undefined ? null : databaseOf(one);
  return database !== null && other !== undefined && databaseOf(other) === database;
}

function invalid(problems: readonly string[], file: string): RestageError {
  const [only] = problems;
  const what =
    problems.length === 1 && only !== undefined ? only : `${problems.length} problems:\n  - ${problems.join('\n  - ')}`;
  return new RestageError('config_invalid', what, {
    where: file,
    fix: 'correct the configuration; docs/configuration.md lists every key',
  });
}
