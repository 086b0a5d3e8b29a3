import { createConnectionPool } from '#adapters/kafka/connection-pool.ts';
import type { Config, OutputConfig } from '#core/config.ts';
import type { Row } from '#core/envelope.ts';
import { describeError, RestageError } from '#core/errors.ts';
import { isEventFault, type ExitCode } from '#core/error-policy.ts';
import { describeEvent } from '#core/fixtures/fixture-verdict.ts';
import type { Logger } from '#core/log.ts';
import type { ModuleStage } from '#core/module/module-stage.ts';
import type { EventPlace } from '#core/rules/event-place.ts';
import { needsState } from '#core/rules/rule-memory.ts';
import type { RowEvent } from '#core/rules/row-delta.ts';
import type { ShapedEvent, TableRules } from '#core/rules/table-rules.ts';
import { compileValidation, type TableValidation } from '#core/rules/validation.ts';
import type { ValidationConfig } from '#core/rules/validation-config.ts';
import { Validator } from '#core/rules/validator.ts';
import type { ValidationFigures } from '#core/validation-figures.ts';
import { structureId } from '#core/structure-record.ts';
import { formatTable, type TableName } from '#core/table-name.ts';
import { splitEnvelope, timeIn } from '../../transformer/envelope-text.ts';
import type { CliEnvironment } from '../environment.ts';
import { formatColumns } from '../table-text.ts';
import { outputOf } from './find-rules.ts';
import { compileOutput, openJoinedHistory, type JoinedHistory, type RulesOf } from './joined-history.ts';
import { readHistory, type HistoryEvent, type StartPoint } from './history-events.ts';
import { withModule } from './with-module.ts';

export interface DryRunOptions {
  readonly output?: string;
  /** As `schema.table`; every table by default. */
  readonly table?: string;
  readonly from: StartPoint;
  /** Events of the source. */
  readonly limit: number;
  readonly json: boolean;
  /** Only the sums. */
  readonly quiet: boolean;
}

/** What became of a rule's events. */
interface RuleCount {
  readonly table: string;
  readonly rule: string;
  readonly target: string;
  events: number;
}

interface Shown {
  readonly place: string;
  readonly before: ReturnType<typeof named>;
  readonly after: readonly ReturnType<typeof named>[];
}

interface DryRunReport {
  readonly output: string;
  readonly events: number;
  readonly seconds: number;
  readonly eventsPerSecond: number;
  readonly rules: readonly RuleCount[];
  readonly failures: readonly { readonly place: string; readonly code: string; readonly reason: string }[];
  readonly failed: number;
  readonly shown: readonly Shown[];
  /** Of rows; sums are of whole transactions, which a dry run does not see. */
  readonly checks: ValidationFigures['checks'];
}

const MOST_FAILURES = 100;

/** The rules of the file over what is in the raw topics: before, and after; nothing is written. 1 when a rule failed for an event. */
export async function runDryRun(
  config: Config,
  options: DryRunOptions,
  cli: CliEnvironment,
  logger: Logger,
): Promise<ExitCode> {
  const output = outputOf(config, options.output, `${config.file}: --output`);
  return withModule(output, config.file, (module) => runOutput(config, { ...options, module }, output, cli, logger));
}

async function runOutput(
  config: Config,
  options: DryRunOptions & { readonly module: ModuleStage | null },
  output: OutputConfig,
  cli: CliEnvironment,
  logger: Logger,
): Promise<ExitCode> {
  const declaration = options.module?.declaration ?? null;
  const pool = createConnectionPool(config.kafka, { clientId: `${config.name}.test`, logger });
  const wants = (table: TableName): boolean => options.table === undefined || formatTable(table) === options.table;
  const history = { pool, prefix: config.name, logger, signal: cli.signal };
  let joined: JoinedHistory | null = null;
  let run: DryRun;
  try {
    if (needsState({ rules: output.rules })) joined = await openJoinedHistory(history, { ...output, declaration });
    run = new DryRun(options, output, joined, cli);
    const events =
      joined === null
        ? readHistory(pool, config.name, options.from, wants, { logger, signal: cli.signal })
        : joined.events(options.from, wants, (event) => run.pass(event));
    for await (const event of events) if ((await run.take(event)) >= options.limit) break;
  } finally {
    await joined?.close();
    await pool.close();
  }
  const report = run.report(output.name);
  cli.out(options.json ? `${JSON.stringify(report)}\n` : describe(report));
  return report.failed === 0 ? 0 : 1;
}

class DryRun {
  readonly #options: DryRunOptions;
  readonly #module: ModuleStage | null;
  readonly #output: RulesOf;
  readonly #joined: JoinedHistory | null;
  readonly #cli: CliEnvironment;
  readonly #compiled = new Map<string, TableRules>();
  readonly #validations = new Map<string, TableValidation | null>();
  readonly #checks: readonly ValidationConfig[];
  readonly #validator: Validator;
  readonly #counts = new Map<string, RuleCount>();
  readonly #failures: DryRunReport['failures'][number][] = [];
  readonly #shown: Shown[] = [];
  #failed = 0;
  #events = 0;
  /** Of the rules alone: Kafka's part is not theirs. */
  #ms = 0;

  constructor(
    { module, ...options }: DryRunOptions & { readonly module: ModuleStage | null },
    { rules, tables, validations = [] }: OutputConfig,
    joined: JoinedHistory | null,
    cli: CliEnvironment,
  ) {
    this.#options = options;
    this.#module = module;
    this.#output = { rules, tables, declaration: module?.declaration ?? null };
    this.#checks = validations;
    this.#validator = new Validator(validations);
    this.#joined = joined;
    this.#cli = cli;
  }

  /** How many there were so far. @throws RestageError rule_invalid. */
  async take(one: HistoryEvent): Promise<number> {
    const { place } = one;
    const compiled = this.#rulesOf(one);
    this.#events += 1;
    const startedAt = performance.now();
    try {
      const { given, at } = readEvent(one);
      const validation = this.#validationOf(one);
      if (validation !== null) this.#validator.check(validation, given, compiled, place);
      const made = await this.#shape(compiled, given, at);
      this.#ms += performance.now() - startedAt;
      this.#note(compiled, given, made, place);
    } catch (error) {
      this.#ms += performance.now() - startedAt;
      if (!(error instanceof RestageError)) throw error;
      this.#failed += 1;
      const failure = { place: error.where ?? place, code: error.code, reason: error.message };
      if (this.#failures.length < MOST_FAILURES) this.#failures.push(failure);
      if (!this.#options.json && !this.#options.quiet) this.#cli.out(`${this.#red(describeError(error))}\n`);
    }
    return this.#events;
  }

  /** One that is only to be remembered; whether a rule fails for it is not asked. */
  async pass(one: HistoryEvent): Promise<void> {
    try {
      const { given, at } = readEvent(one);
      await this.#joined?.apply(this.#rulesOf(one), given, at);
    } catch (error) {
      if (!(error instanceof RestageError) || !isEventFault(error)) throw error;
    }
  }

  async #shape(compiled: TableRules, event: RowEvent, at: EventPlace): Promise<readonly ShapedEvent[]> {
    const reached = (await this.#joined?.apply(compiled, event, at)) ?? compiled.apply(event, at);
    if (!compiled.isForModule || this.#module === null) return reached;
    const made = await this.#module.shape({ source: compiled.source, event, at }, this.#cli.signal);
    return [...made, ...reached];
  }

  #rulesOf({ structure, version }: HistoryEvent): TableRules {
    const id = structureId({ version, structure });
    const compiled =
      this.#compiled.get(id) ?? this.#joined?.compile(structure) ?? compileOutput(structure, this.#output);
    this.#compiled.set(id, compiled);
    return compiled;
  }

  #validationOf({ structure, version }: HistoryEvent): TableValidation | null {
    const id = structureId({ version, structure });
    const known = this.#validations.get(id);
    if (known !== undefined) return known;
    const made = compileValidation(structure, this.#checks, null);
    this.#validations.set(id, made);
    return made;
  }

  report(output: string): DryRunReport {
    this.#validator.keep();
    const seconds = this.#ms / 1000;
    return {
      output,
      events: this.#events,
      seconds,
      eventsPerSecond: seconds === 0 ? 0 : Math.round(this.#events / seconds),
      rules: [...this.#counts.values()],
      failures: this.#failures,
      failed: this.#failed,
      shown: this.#shown,
      checks: this.#validator.figures,
    };
  }

  #note(compiled: TableRules, given: RowEvent, made: readonly ShapedEvent[], place: string): void {
    const table = formatTable(compiled.source);
    for (const { name, shaped } of compiled.branches) {
      const id = JSON.stringify([table, name]);
      const known = this.#counts.get(id) ?? { table, rule: name, target: formatTable(shaped), events: 0 };
      known.events += made.filter(({ branch }) => branch.name === name).length;
      this.#counts.set(id, known);
    }
    if (this.#options.quiet) return;
    const before = named(table, concealEvent(given, compiled));
    const after = made.map(({ branch, event }) => named(formatTable(branch.shaped), event));
    if (this.#options.json) this.#shown.push({ place, before, after });
    else
      this.#cli.out(
        [
          `${place}\n`,
          `${this.#red(`- ${describeEvent(before)}`)}\n`,
          ...(after.length === 0
            ? ['  (nothing)\n']
            : after.map((one) => `${this.#green(`+ ${describeEvent(one)}`)}\n`)),
        ].join(''),
      );
  }

  #red(text: string): string {
    return this.#cli.isTerminal ? `\u001B[31m${text}\u001B[39m` : text;
  }

  #green(text: string): string {
    return this.#cli.isTerminal ? `\u001B[32m${text}\u001B[39m` : text;
  }
}

/** Before the rules, and yet without what they mask. */
function concealEvent(event: RowEvent, rules: TableRules): RowEvent {
  const [key, before, after] = [event.key, event.before, event.after].map((row) =>
    row === null ? null : rules.conceal(row),
  );
  return { op: event.op, key: key ?? null, before: before ?? null, after: after ?? null };
}

function readEvent({ record, place }: HistoryEvent): { readonly given: RowEvent; readonly at: EventPlace } {
  const { event, tail } = splitEnvelope(record.value ?? Buffer.alloc(0), place);
  const key = record.key === null ? null : (JSON.parse(record.key.toString('utf8')) as Row);
  return { given: { ...event, key }, at: { place, time: timeIn(tail) } };
}

function named(table: string, { op, key, before, after }: RowEvent): RowEvent & { readonly table: string } {
  return { table, op, key, before, after };
}

function describe(report: DryRunReport): string {
  const rows = report.rules.map(({ table, target, rule, events }) => [table, target, rule, events]);
  return [
    formatColumns(['table', 'target', 'rule', 'events'], rows),
    report.checks.length === 0
      ? ''
      : formatColumns(
          ['check', 'on failure', 'passed', 'failed'],
          report.checks.map(({ name, onFailure, passed, failed }) => [name, onFailure, passed, failed]),
        ),
    `${report.events} events through the rules of ${report.output}, ${report.failed} failed; ${report.eventsPerSecond} events/s in the rules\n`,
  ].join('');
}
