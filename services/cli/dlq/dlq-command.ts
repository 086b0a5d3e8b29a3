import type pg from 'pg';
import type { ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { readCompacted } from '#adapters/kafka/keyed-topic.ts';
import { readTables } from '#adapters/postgres/catalog.ts';
import { DebeziumState } from '#adapters/postgres/target/debezium-state.ts';
import { DeadLetterStore, hasDeadLetters, type StoredDeadLetter } from '#adapters/postgres/target/dead-letter-store.ts';
import { isFinishStarted } from '#adapters/postgres/target/schema-finish.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import type { LetterOutcome } from '#core/letter-command.ts';
import type { Logger } from '#core/log.ts';
import { findOutput, prefixOf } from '#core/output-ref.ts';
import { schemasTopic } from '#core/topic-names.ts';
import { dropDeadLetters } from '../../sink/dead-letter-drop.ts';
import { retryDeadLetters, type RetryOptions } from '../../sink/dead-letter-retry.ts';
import { debeziumLetters } from '../../sink/debezium/letter-tools.ts';
import { RecordReader } from '../../sink/debezium/record-reader.ts';
import { LetterReader } from '../../sink/letter-reader.ts';
import { confirm } from '../ask.ts';
import { findTarget } from '../config-file.ts';
import { openControlPool } from '../control-topic.ts';
import type { CliEnvironment } from '../environment.ts';
import { noteAction } from '../migration/audit.ts';
import { processFailpoints } from '../process-failpoints.ts';
import { connectTarget } from '../target-checkpoint.ts';
import { askTransformer, readOutputs, readWhole, type OpenOutput } from './output-letters.ts';
import {
  describeDrop,
  describeRetry,
  formatLetters,
  formatList,
  letterJson,
  listJson,
  sayWhatStays,
  type TargetLetters,
  type TargetOutcomes,
} from './dlq-printer.ts';

export interface DlqTools {
  readonly config: Config;
  readonly cli: CliEnvironment;
  readonly logger: Logger;
  readonly targets: readonly OpenTarget[];
  /** None where one target is asked for. */
  readonly outputs: readonly OpenOutput[];
  readonly pool: ConnectionPool;
}

interface OpenTarget {
  readonly target: TargetConfig;
  readonly client: pg.Client;
  readonly store: DeadLetterStore;
}

interface JsonOption {
  readonly json: boolean;
}

const READ_AT_ONCE = 200;

/** Opens the targets that have dead letters' tables, runs the work and closes them. */
export async function withDlq(
  options: { config: Config; target: string | undefined; cli: CliEnvironment; logger: Logger },
  work: (tools: DlqTools) => Promise<0 | 1>,
): Promise<0 | 1> {
  const { config, target: name, cli, logger } = options;
  const chosen = name === undefined ? config.targets : [findTarget(config, name)];
  const targets: OpenTarget[] = [];
  const clients: pg.Client[] = [];
  const pool = openControlPool(config, logger);
  try {
    for (const target of chosen) {
      const client = await connectTarget(config, target);
      clients.push(client);
      if (await hasDeadLetters(client))
        targets.push({ target, client, store: new DeadLetterStore(client, config.name) });
    }
    const outputs = name === undefined ? await readOutputs(pool, config) : [];
    return await work({ config, cli, logger, targets, outputs, pool });
  } finally {
    await Promise.allSettled([...clients.map((client) => client.end()), pool.close()]);
  }
}

export async function runList(
  { cli, targets, outputs }: DlqTools,
  options: JsonOption & { all: boolean },
): Promise<0 | 1> {
  const lists: TargetLetters[] = outputs.map(({ ref, letters }) => ({ target: nameOf(ref), letters }));
  for (const { target, store } of targets) {
    const letters: StoredDeadLetter[] = [];
    const ids = await store.ids(options.all);
    for (let at = 0; at < ids.length; at += READ_AT_ONCE)
      letters.push(...(await store.read(ids.slice(at, at + READ_AT_ONCE), false)));
    lists.push({ target: target.name, letters });
  }
  cli.out(options.json ? `${JSON.stringify(listJson(lists))}\n` : formatList(lists));
  return 0;
}

export async function runShow(
  tools: DlqTools,
  given: readonly string[],
  options: JsonOption & { values: boolean },
): Promise<0 | 1> {
  const shown: TargetLetters[] = [];
  const chosen = await resolve(tools, given, true);
  for (const [{ target, store }, ids] of chosen.targets)
    shown.push({ target: target.name, letters: await store.read(ids) });
  for (const [{ output, ref, letters }, ids] of chosen.outputs) {
    const some = letters.filter(({ id }) => ids.includes(id));
    shown.push({
      target: nameOf(ref),
      letters: await readWhole(tools.pool, tools.config, output, some, {
        logger: tools.logger,
        signal: tools.cli.signal,
      }),
    });
  }
  tools.cli.out(
    options.json
      ? `${JSON.stringify(shown.flatMap(({ target, letters }) => letters.map((one) => letterJson(target, one, options.values))))}\n`
      : formatLetters(shown, options.values),
  );
  return 0;
}

/** 1 when some of what was asked for still waits. */
export async function runRetry(
  tools: DlqTools,
  given: readonly string[],
  options: JsonOption & { dryRun: boolean; set: Readonly<Record<string, string | null>>; reason: string },
): Promise<0 | 1> {
  const outcomes: TargetOutcomes[] = [];
  const chosen = given.length === 0 ? null : await resolve(tools, given, false);
  requireNamed(chosen, options.set);
  if (!options.dryRun) await noteLetters(tools, 'dlq retry', chosen, options.reason);
  for (const open of tools.outputs) {
    const ids = chosen === null ? null : chosen.outputs.get(open);
    if (ids === undefined) continue;
    const { set, reason, dryRun: isDryRun } = options;
    const command = { action: 'retry', ids, set, reason, behind: 'free', isDryRun } as const;
    const { pool, config, cli } = tools;
    outcomes.push({
      target: nameOf(open.ref),
      outcomes: (await askTransformer(pool, config, open.ref, command, cli.signal)).flatMap(outcomeOf),
    });
  }
  for (const open of tools.targets) {
    const ids = chosen === null ? null : chosen.targets.get(open);
    if (ids === undefined || (ids === null && (await open.store.ids(false)).length === 0)) continue;
    outcomes.push({ target: open.target.name, outcomes: await retryTarget(tools, open, ids, options.dryRun) });
  }
  tools.cli.out(
    options.json
      ? `${JSON.stringify({ dryRun: options.dryRun, targets: outcomes })}\n`
      : describeRetry(outcomes, options.dryRun),
  );
  return outcomes.some((one) => one.outcomes.some(({ state }) => state === 'waiting')) ? 1 : 0;
}

async function retryTarget(
  { config, cli, logger }: DlqTools,
  { target, client }: OpenTarget,
  ids: readonly string[] | null,
  isDryRun: boolean,
): Promise<TargetOutcomes['outcomes']> {
  if (await isFinishStarted(client, config.name)) {
    throw new RestageError(
      'target_refused',
      'this target was given to its application: its triggers would act on what is retried',
      {
        where: `target ${target.name}, restage.journal, step finish`,
        fix: 'write the rows by hand (restage dlq show --values), then restage dlq drop',
      },
    );
  }
  return retryDeadLetters({
    client,
    pipeline: config.name,
    ...(await letterTools(config, target, client, logger)),
    isByRow: target.quarantine === 'row',
    ids,
    isDryRun,
    failpoints: processFailpoints(cli.env),
  });
}

async function letterTools(
  config: Config,
  target: TargetConfig,
  client: pg.Client,
  logger: Logger,
): Promise<Pick<RetryOptions, 'letters' | 'tables'>> {
  const theirs = config.source.debezium ?? null;
  if (theirs !== null)
    return {
      letters: debeziumLetters(client, theirs, new RecordReader(theirs, config.kafka), new DebeziumState(config.name)),
      tables: await readTables(client, ''),
    };
  const prefix = prefixOf(config, target.output);
  const pool = openControlPool(config, logger);
  try {
    const letters = new LetterReader((await readCompacted(pool, schemasTopic(prefix))).values());
    return { letters, tables: letters.tables };
  } finally {
    await pool.close();
  }
}

/** 1 when it was not to be done after all. */
export async function runDrop(
  tools: DlqTools,
  given: readonly string[],
  options: JsonOption & { behind: 'free' | 'drop'; yes: boolean; dryRun: boolean; reason: string },
): Promise<0 | 1> {
  const { cli, config } = tools;
  const chosen = await resolve(tools, given, false);
  const { behind, reason, dryRun: isDryRun } = options;
  for (const [{ ref, letters }, ids] of chosen.outputs) {
    const named = letters.filter(({ id }) => ids.includes(id));
    cli.err(sayWhatStays(nameOf(ref), named, idsBehind(letters, ids), behind));
  }
  for (const [{ target, store }, ids] of chosen.targets)
    cli.err(sayWhatStays(target.name, await store.read(ids, false), await store.behind(ids), behind));
  if (!isDryRun && !options.yes && !(await confirm('drop them? [y/N] ', { command: 'restage dlq drop' }, cli))) {
    cli.err('nothing was dropped\n');
    return 1;
  }
  if (!isDryRun) await noteLetters(tools, 'dlq drop', chosen, reason);
  const dropped: { target: string; dropped: readonly string[]; freed: readonly string[] }[] = [];
  for (const [{ ref }, ids] of chosen.outputs) {
    const command = { action: 'drop', ids, set: {}, reason, behind, isDryRun } as const;
    const outcomes = await askTransformer(tools.pool, config, ref, command, cli.signal);
    const idsOf = (wanted: LetterOutcome['state']): string[] =>
      outcomes.flatMap(({ id, state }) => (state === wanted ? [id] : []));
    dropped.push({ target: nameOf(ref), dropped: idsOf('dropped'), freed: idsOf('freed') });
  }
  for (const [{ target, client }, ids] of chosen.targets) {
    const failpoints = processFailpoints(cli.env);
    const outcome = await dropDeadLetters({ client, pipeline: config.name, ids, behind, isDryRun, failpoints });
    dropped.push({ target: target.name, ...outcome });
  }
  cli.out(
    options.json ? `${JSON.stringify({ dryRun: isDryRun, targets: dropped })}\n` : describeDrop(dropped, isDryRun),
  );
  return 0;
}

/** In the audit of each target whose letters are meant, or that takes an output whose are. `chosen` null: all. */
async function noteLetters(
  { config, targets, outputs, logger }: DlqTools,
  action: 'dlq retry' | 'dlq drop',
  chosen: Chosen | null,
  reason: string,
): Promise<void> {
  for (const target of config.targets) {
    const own = targets.find((open) => open.target === target);
    const output = outputs.find((open) => open.output === findOutput(config.outputs, target.output));
    const ids = [
      ...(own === undefined ? [] : (chosen?.targets.get(own) ?? [])),
      ...(output === undefined ? [] : (chosen?.outputs.get(output) ?? [])),
    ];
    const isMeant = chosen === null ? own !== undefined || output !== undefined : ids.length > 0;
    if (!isMeant) continue;
    const given = { letters: chosen === null ? 'all' : ids.join(', '), reason };
    await noteAction(config, [target], { action, with: given }, logger);
  }
}

/** Letters that were asked for. */
interface Chosen {
  readonly targets: ReadonlyMap<OpenTarget, string[]>;
  readonly outputs: ReadonlyMap<OpenOutput, string[]>;
}

/** As `target` stands for a target. */
function nameOf(ref: string): string {
  return `output ${ref}`;
}

function outcomeOf({ id, state, code, error }: LetterOutcome): TargetOutcomes['outcomes'] {
  return state === 'retried' || state === 'waiting' ? [{ id, state, code, error }] : [];
}

/** What waits behind these, and behind that. */
function idsBehind(letters: readonly StoredDeadLetter[], ids: readonly string[]): string[] {
  const found = new Set(ids);
  for (let before = -1; before !== found.size;) {
    before = found.size;
    for (const { id, behind } of letters) if (behind !== null && found.has(behind)) found.add(id);
  }
  return [...found].filter((id) => !ids.includes(id));
}

/** A value is set in named letters of outputs alone: a target's row is the source's. @throws RestageError usage. */
function requireNamed(chosen: Chosen | null, set: Readonly<Record<string, string | null>>): void {
  if (Object.keys(set).length === 0) return;
  if (chosen !== null && chosen.targets.size === 0) return;
  throw new RestageError('usage', '--set is for dead letters of outputs, named by their ids', {
    fix: "restage dlq list says which are an output's; for those of a target mend the target",
  });
}

/** Ids by target and output. @throws RestageError usage for one that none has, or a beginning that more than one has. */
async function resolve({ targets, outputs }: DlqTools, given: readonly string[], isAll: boolean): Promise<Chosen> {
  const found = { targets: new Map<OpenTarget, string[]>(), outputs: new Map<OpenOutput, string[]>() };
  const known: { readonly id: string; readonly take: () => void }[] = [];
  for (const open of targets)
    for (const id of await open.store.ids(isAll)) known.push({ id, take: () => addTo(found.targets, open, id) });
  for (const open of outputs)
    for (const { id } of open.letters) known.push({ id, take: () => addTo(found.outputs, open, id) });
  for (const text of given) {
    const [match, ...others] = known.filter(({ id }) => id.startsWith(text));
    if (match === undefined || others.length > 0) {
      const what = match === undefined ? 'no dead letter that waits' : 'more than one dead letter';
      throw new RestageError('usage', `${what} has an id that begins with ${JSON.stringify(text)}`, {
        fix: 'restage dlq list names them; --all also those that were retried or dropped',
      });
    }
    match.take();
  }
  return found;
}

function addTo<K>(found: Map<K, string[]>, open: K, id: string): void {
  const ids = found.get(open) ?? [];
  if (!ids.includes(id)) found.set(open, [...ids, id]);
}
