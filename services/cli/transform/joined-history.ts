import { createKafkaEpochReader } from '#adapters/kafka/epoch-reader.ts';
import type { ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { openLevelStore } from '#adapters/state/level-store.ts';
import type { OutputConfig } from '#core/config.ts';
import type { Logger } from '#core/log.ts';
import type { ModuleDeclaration } from '#core/module/declaration.ts';
import { RuleMemory } from '#core/rules/rule-memory.ts';
import { RuleState } from '#core/rules/rule-state.ts';
import type { RowEvent } from '#core/rules/row-delta.ts';
import type { EventPlace } from '#core/rules/event-place.ts';
import { compileTable, type ShapedEvent, type TableRules } from '#core/rules/table-rules.ts';
import type { TableStructure } from '#core/structure.ts';
import type { TableName } from '#core/table-name.ts';
import { splitEnvelope } from '../../transformer/envelope-text.ts';
import { offsetOf, readHistory, readNewest, type HistoryEvent, type StartPoint } from './history-events.ts';

export interface HistoryAccess {
  readonly pool: ConnectionPool;
  readonly prefix: string;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

/** What an output makes of its tables. */
export interface RulesOf extends Pick<OutputConfig, 'rules'> {
  readonly tables?: readonly string[] | undefined;
  /** null: it has no module. */
  readonly declaration: ModuleDeclaration | null;
}

const FLUSH_ROWS = 10_000;

/**
 * A history for rules that look up rows or have a state: what is remembered at an event is told by all events before it, so they are read
 * too. Nothing is written but a cache on this machine.
 */
export class JoinedHistory {
  readonly #access: HistoryAccess;
  readonly #memory: RuleMemory;
  readonly #captured: readonly TableStructure[];
  readonly #output: RulesOf;

  constructor(access: HistoryAccess, memory: RuleMemory, captured: readonly TableStructure[], output: RulesOf) {
    this.#access = access;
    this.#memory = memory;
    this.#captured = captured;
    this.#output = output;
    memory.define(captured.map((structure) => this.compile(structure)));
  }

  /** @throws RestageError rule_invalid. */
  compile(structure: TableStructure): TableRules {
    return compileOutput(structure, this.#output, this.#captured);
  }

  /** Those from the start on of the tables that are wanted; all others that are remembered go to `pass`. */
  async *events(
    start: StartPoint,
    wants: (table: TableName) => boolean,
    pass: (event: HistoryEvent) => Promise<void>,
  ): AsyncGenerator<HistoryEvent> {
    const { pool, prefix, logger, signal } = this.#access;
    const options = { logger, signal };
    const reader = createKafkaEpochReader({ pool, prefix, logger });
    const end = await reader.end();
    const from = await offsetOf(pool, prefix, start, end);
    await reader.close();
    const isLookedUp = ({ topic }: TableStructure): boolean => this.#memory.isLookedUp(topic);
    for await (const event of readHistory(pool, prefix, { kind: 'beginning' }, isLookedUp, options))
      await this.#takeRow(event);
    const isMet = (table: TableStructure): boolean => wants(table) || this.#memory.has(table.topic);
    for await (const event of readHistory(pool, prefix, { kind: 'beginning' }, isMet, options)) {
      if (event.offset >= from && wants(event.structure)) yield event;
      else await pass(event);
      if (this.#memory.state.pending >= FLUSH_ROWS) await this.#memory.state.flush();
    }
  }

  async apply(rules: TableRules, event: RowEvent, at: EventPlace): Promise<readonly ShapedEvent[]> {
    const { topic } = rules.source;
    if (!this.#memory.has(topic)) return rules.apply(event, at);
    const { own, others } = this.#memory.take(rules, event, at, event.op === 'r' && this.#memory.isLookedUp(topic));
    const reached: ShapedEvent[] = [];
    if (others !== null) for await (const { events } of others) reached.push(...events);
    return [...own, ...reached];
  }

  close(): Promise<void> {
    return this.#memory.state.close();
  }

  /** Rows of a load that are looked up come before all others, as in a transformer. */
  async #takeRow({ record, structure, place }: HistoryEvent): Promise<void> {
    if (record.key === null || record.value === null) return;
    const { event } = splitEnvelope(record.value, place);
    const { state } = this.#memory;
    if (event.op === 'r') state.write(structure.topic, record.key.toString('utf8'), event.after);
    if (state.pending >= FLUSH_ROWS) await state.flush();
  }
}

/** A table behind an output's rules, for a look at them. @throws RestageError rule_invalid. */
export function compileOutput(
  structure: TableStructure,
  { rules, tables, declaration }: RulesOf,
  captured: readonly TableStructure[] = [],
): TableRules {
  return compileTable(structure, rules, 'dry-run', declaration, { captured, tables });
}

export async function openJoinedHistory(access: HistoryAccess, output: RulesOf): Promise<JoinedHistory> {
  const captured = await readNewest(access.pool, access.prefix);
  const store = await openLevelStore();
  try {
    return new JoinedHistory(access, new RuleMemory(new RuleState(store)), captured, output);
  } catch (error) {
    await store.close();
    throw error;
  }
}
