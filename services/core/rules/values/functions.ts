import type { Cell, Value } from '#core/rules/values/expression-node.ts';
import type { ExpressionKind } from '#core/rules/values/expression-types.ts';

/** What a function takes at a place: one kind, or any of several. */
export type Parameter = ExpressionKind | readonly ExpressionKind[];

/**
 * A function of an expression: `f(x, y)` or `x.f(y)`. NULL in, NULL out. Pure: a call on literals is computed when the
 * rule is compiled, so what cannot be is told before the first row.
 */
export interface FunctionDefinition {
  readonly name: string;
  readonly parameters: readonly Parameter[];
  readonly result: ExpressionKind;
  /** Of a result that is a list. */
  readonly element?: ExpressionKind;
  readonly run: (...args: readonly Value[]) => Cell;
}

/** As FunctionDefinition, in one line. */
export function define(
  name: string,
  parameters: readonly Parameter[],
  result: ExpressionKind,
  run: (...args: readonly Value[]) => Cell,
): FunctionDefinition {
  return { name, parameters, result, run };
}
