import { RestageError } from '#core/errors.ts';
import type { ModuleDeclaration } from '#core/module/declaration.ts';
import { moduleInput } from '#core/module/module-input.ts';
import { ModuleOutput } from '#core/module/module-output.ts';
import type { ModuleAnswer, ModuleRunner } from '#core/module/module-runner.ts';
import type { EventPlace } from '#core/rules/event-place.ts';
import type { RowEvent } from '#core/rules/row-delta.ts';
import type { ShapedEvent } from '#core/rules/table-rules.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, tableKey } from '#core/table-name.ts';

/** A change of a table that the module names. */
export interface ModuleEvent {
  readonly source: TableStructure;
  readonly event: RowEvent;
  readonly at: EventPlace;
}

export type ModuleOutcome =
  | { readonly kind: 'events'; readonly events: readonly ShapedEvent[] }
  /** rule_failed, naming table, key and place. */
  | { readonly kind: 'fault'; readonly error: RestageError };

const SHOWN_KEY = 200;

/** An output's module between events of the source and events at the target, for whoever asks: the transformer, a dry run, a comparison. */
export class ModuleStage {
  readonly #runner: ModuleRunner;
  readonly #output: ModuleOutput;

  constructor(runner: ModuleRunner, shapedPrefix: string) {
    this.#runner = runner;
    this.#output = new ModuleOutput(runner.declaration, shapedPrefix);
  }

  get declaration(): ModuleDeclaration {
    return this.#runner.declaration;
  }

  /** What becomes of one event. @throws RestageError rule_failed, transient. */
  async shape(event: ModuleEvent, signal: AbortSignal): Promise<readonly ShapedEvent[]> {
    const [outcome] = await this.run([event], signal);
    if (outcome?.kind === 'fault') throw outcome.error;
    return outcome?.events ?? [];
  }

  /** One outcome for each event, in their order; fewer when aborted. @throws RestageError transient. */
  async run(batch: readonly ModuleEvent[], signal: AbortSignal): Promise<ModuleOutcome[]> {
    const { declaration } = this.#runner;
    const inputs = batch.map(({ source, event, at }) => moduleInput(declaration, source, event, at));
    const answers = await this.#runner.run(inputs, signal);
    return answers.flatMap((answer, index) => {
      const one = batch[index];
      return one === undefined ? [] : [this.#outcome(one, answer)];
    });
  }

  #outcome(event: ModuleEvent, answer: ModuleAnswer): ModuleOutcome {
    if (answer.kind === 'fault') return { kind: 'fault', error: this.#fault(event, answer.reason, answer.place) };
    try {
      const source = tableKey(event.source);
      return {
        kind: 'events',
        events: answer.changes.map((change) => this.#output.shape(change, source, event.event.op)),
      };
    } catch (cause) {
      if (!(cause instanceof RestageError)) throw cause;
      return { kind: 'fault', error: this.#fault(event, cause.message, '', cause) };
    }
  }

  #fault({ source, event, at }: ModuleEvent, reason: string, place: string, cause?: RestageError): RestageError {
    const key = event.key === null ? 'none' : JSON.stringify(event.key).slice(0, SHOWN_KEY);
    const code = place === '' ? this.#runner.declaration.file : place;
    return new RestageError('rule_failed', `the module fails for a row: ${reason}`, {
      where: `table ${formatTable(source)}, key ${key}; ${at.place}; ${code}`,
      fix:
        cause?.fix ?? 'correct the module, and start the transformer again; restage types writes the types of its rows',
      cause,
    });
  }
}
