import type { Cell, Node, RowScope, StaticType } from '#core/rules/values/expression-node.ts';
import { compileComparison } from '#core/rules/values/expression-operators.ts';
import { RuleFailure } from '#core/rules/values/rule-failure.ts';

/** SQL's three values (PostgreSQL: "Logical Operators"); where one side decides, the other's failure does not count, as CEL has it. */

export function compileOr(left: Node, right: Node): Node {
  return { type: { kind: 'bool' }, run: (row) => decide(left, right, row, true) };
}

export function compileAnd(left: Node, right: Node): Node {
  return { type: { kind: 'bool' }, run: (row) => decide(left, right, row, false) };
}

export function compileNot(node: Node): Node {
  return {
    type: { kind: 'bool' },
    run: (row) => {
      const value = node.run(row);
      return value === null ? null : value !== true;
    },
  };
}

/** As CASE: a condition that is unknown takes the second. */
export function compileTernary(condition: Node, yes: Node, no: Node, type: StaticType): Node {
  return { type, run: (row) => (condition.run(row) === true ? yes.run(row) : no.run(row)) };
}

/** As SQL's IN: unknown where nothing is equal and one of them is NULL. null for kinds that do not compare. */
export function compileIn(item: Node, list: Node): Node | null {
  const { element } = list.type;
  if (list.type.kind !== 'list' || element === undefined) return null;
  let current: Cell = null;
  const candidate: Node = { type: element, run: () => current };
  const isEqual = compileComparison('==', item, candidate);
  if (isEqual === null) return null;
  return {
    type: { kind: 'bool' },
    run: (row) => {
      const items = list.run(row) as readonly Cell[] | null;
      if (items === null) return null;
      let isUnknown = false;
      for (current of items) {
        const holds = isEqual.run(row);
        if (holds === true) return true;
        isUnknown ||= holds === null;
      }
      return isUnknown ? null : false;
    },
  };
}

function decide(left: Node, right: Node, row: RowScope, deciding: boolean): Cell {
  let first: Cell;
  try {
    first = left.run(row);
  } catch (error) {
    if (error instanceof RuleFailure && right.run(row) === deciding) return deciding;
    throw error;
  }
  if (first === deciding) return deciding;
  const second = right.run(row);
  if (second === deciding) return deciding;
  return first === null || second === null ? null : !deciding;
}
