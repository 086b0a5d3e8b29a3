import type { Cell, Node, StaticType } from '#core/rules/values/expression-node.ts';

/** Words of CEL that go through a list: `tags.exists(t, t == "new")`. */
export const MACROS: ReadonlySet<string> = new Set(['all', 'exists', 'exists_one', 'filter', 'map']);

/** A macro's parts, compiled: the list, the variable's place among the locals, a condition, and what map makes of an element. */
export interface MacroParts {
  readonly list: Node;
  readonly local: number;
  readonly condition: Node | null;
  readonly transform: Node | null;
}

/** NULLs as SQL's ANY and ALL have them; a NULL condition leaves an element out. A NULL list gives NULL. */
export function compileMacro(name: string, parts: MacroParts): Node {
  const { list, condition, transform } = parts;
  switch (name) {
    case 'exists':
      return quantifier(parts, true);
    case 'all':
      return quantifier(parts, false);
    case 'exists_one':
      return over(parts, { kind: 'bool' }, (passing) => passing.length === 1);
    case 'map':
      return over(parts, { kind: 'list', element: { kind: transform?.type.kind ?? 'null' } }, (passing, compute) =>
        passing.map(compute),
      );
    default:
      return over({ ...parts, condition }, list.type, (passing) => passing);
  }
}

function over(
  { list, local, condition, transform }: MacroParts,
  type: StaticType,
  finish: (passing: readonly Cell[], compute: (item: Cell) => Cell) => Cell,
): Node {
  return {
    type,
    run: (row) => {
      const items = list.run(row) as readonly Cell[] | null;
      if (items === null) return null;
      const runFor = (node: Node, item: Cell): Cell => {
        row.locals[local] = item;
        return node.run(row);
      };
      const passing = condition === null ? items : items.filter((item) => runFor(condition, item) === true);
      return finish(passing, (item) => (transform === null ? item : runFor(transform, item)));
    },
  };
}

/** Ends at the first element that decides; unknown where none does and one is unknown. */
function quantifier({ list, local, condition }: MacroParts, deciding: boolean): Node {
  return {
    type: { kind: 'bool' },
    run: (row) => {
      const items = list.run(row) as readonly Cell[] | null;
      if (items === null || condition === null) return null;
      let isUnknown = false;
      for (const item of items) {
        row.locals[local] = item;
        const holds = condition.run(row);
        if (holds === deciding) return deciding;
        isUnknown ||= holds === null;
      }
      return isUnknown ? null : !deciding;
    },
  };
}
