/** A foreign key as an edge between two tables, by any names that tell them apart. */
export interface KeyEdge {
  readonly child: string;
  readonly parent: string;
}

/**
 * A number for every table that an edge names: a parent's is below its child's, and tables on one ring share theirs. So an edge
 * whose ends have the same number is one that no order of tables meets; a table that refers to itself is the smallest ring.
 * (Tarjan's strongly connected components, which come parents first.)
 */
export function numberTables(edges: readonly KeyEdge[]): Map<string, number> {
  const parents = new Map<string, string[]>();
  for (const { child, parent } of edges) {
    parents.set(child, [...(parents.get(child) ?? []), parent]);
    if (!parents.has(parent)) parents.set(parent, []);
  }
  const numbers = new Map<string, number>();
  const seen = new Map<string, { low: number }>();
  const open: string[] = [];
  let ring = 0;
  const visit = (table: string): number => {
    const index = seen.size;
    const state = { low: index };
    seen.set(table, state);
    open.push(table);
    for (const parent of parents.get(table) ?? []) {
      const known = seen.get(parent);
      if (known === undefined) state.low = Math.min(state.low, visit(parent));
      else if (!numbers.has(parent)) state.low = Math.min(state.low, known.low);
    }
    if (state.low === index) {
      for (const member of open.splice(open.indexOf(table))) numbers.set(member, ring);
      ring += 1;
    }
    return state.low;
  };
  for (const table of parents.keys()) if (!seen.has(table)) visit(table);
  return numbers;
}
