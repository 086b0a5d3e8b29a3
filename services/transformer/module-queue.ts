import type { ModuleDeclaration } from '#core/module/declaration.ts';
import type { ModuleEvent, ModuleStage } from '#core/module/module-stage.ts';
import type { RestageError } from '#core/errors.ts';
import type { ShapedEvent } from '#core/rules/table-rules.ts';

/** Takes what the module made of one change; returns the ops, a letter each. */
export type Append = (shaped: readonly ShapedEvent[]) => string;

const MOST_CHANGES = 2_000;
const MOST_BYTES = 1024 * 1024;

/** Changes of an epoch that wait for the module, so that it gets many at once; bounded in bytes (invariant 6). */
export class ModuleQueue {
  readonly declaration: ModuleDeclaration;
  readonly #stage: ModuleStage;
  #waiting: { readonly event: ModuleEvent; readonly append: Append }[] = [];
  #bytes = 0;

  constructor(stage: ModuleStage, declaration: ModuleDeclaration) {
    this.#stage = stage;
    this.declaration = declaration;
  }

  get isFull(): boolean {
    return this.#waiting.length >= MOST_CHANGES || this.#bytes >= MOST_BYTES;
  }

  add(event: ModuleEvent, append: Append, bytes: number): void {
    this.#waiting.push({ event, append });
    this.#bytes += bytes;
  }

  /** Appends in the order in which changes were added; aborted, the epoch is not written. @throws RestageError rule_failed. */
  async settle(signal: AbortSignal): Promise<string> {
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#bytes = 0;
    if (waiting.length === 0) return '';
    const outcomes = await this.#stage.run(
      waiting.map(({ event }) => event),
      signal,
    );
    let ops = '';
    for (const [index, outcome] of outcomes.entries()) {
      if (outcome.kind === 'fault') refuse(outcome.error);
      else ops += waiting[index]?.append(outcome.events) ?? '';
    }
    return ops;
  }
}

/** What becomes of a change that the module does not take: the transformer stops (policy `stop`). */
function refuse(error: RestageError): never {
  throw error;
}
