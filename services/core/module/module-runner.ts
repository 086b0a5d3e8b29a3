import type { Cell, Row } from '#core/envelope.ts';
import type { ModuleDeclaration } from '#core/module/declaration.ts';

/** A change as a module's process gets it. */
export interface ModuleInput {
  /** The table of the source as the declaration spells it. */
  readonly table: string;
  readonly op: 'c' | 'u' | 'd' | 'r';
  readonly key: Row | null;
  readonly before: Row | null;
  readonly after: Row | null;
  /** Columns that `after` lacks because nobody knows their unchanged values. */
  readonly unchanged: readonly string[];
  readonly time: string;
}

/** A change as a module gave it: nothing is checked but the kinds of its values. */
export interface ModuleChange {
  readonly table: string;
  readonly op: 'c' | 'u' | 'd' | 'r' | null;
  readonly key: Row | null;
  readonly before: Row | null;
  readonly after: Readonly<Record<string, Cell>> | null;
  readonly unchanged: readonly string[];
}

/** `place`: in the module's code, `file:line:column`; '' where nobody knows. `reason` holds no value of a row (invariant 8). */
export type ModuleAnswer =
  | { readonly kind: 'changes'; readonly changes: readonly ModuleChange[] }
  | { readonly kind: 'fault'; readonly reason: string; readonly place: string };

/**
 * Runs a module's functions, apart from the service. Order: one answer for each input, in their order. A function that throws, hangs or
 * takes more memory than it may is an answer of its input alone; the others have theirs. Duplicates: an input may be run more than once, so
 * functions must be pure. Errors: `run` rejects with `transient` where no process can be had, and only then.
 */
export interface ModuleRunner {
  readonly declaration: ModuleDeclaration;
  /** What it was compiled to. */
  readonly code: string;
  /** Aborted: what is there so far. */
  run(batch: readonly ModuleInput[], signal: AbortSignal): Promise<ModuleAnswer[]>;
  close(): Promise<void>;
}
