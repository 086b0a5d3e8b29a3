import type { ColumnStructure, TableStructure } from '#core/structure.ts';

/** Types of pg_catalog that hold every value of the first one, and print it alike. */
const WIDER: Readonly<Record<string, readonly string[]>> = {
  int2: ['int4', 'int8', 'numeric'],
  int4: ['int8', 'numeric'],
  int8: ['numeric'],
  varchar: ['text'],
  bpchar: ['text', 'varchar'],
  json: ['text'],
};

/**
 * What keeps a target's table from taking the events of a structure, one sentence each; empty when it fits. A type may be
 * wider than the source's, never narrower: narrower ones round or refuse (invariant 5). `labels`: those that an enum lacks are still to
 * be added.
 */
export function findMisfits(
  wanted: TableStructure,
  found: TableStructure,
  labels: 'there' | 'to come' = 'there',
): string[] {
  const columns = new Map(found.columns.map((column) => [column.name, column]));
  const problems: string[] = [];
  for (const column of wanted.columns) {
    const there = columns.get(column.name);
    if (there === undefined) problems.push(`column ${column.name} ${column.type} is missing`);
    else if (there.generated && !column.generated)
      problems.push(`column ${column.name} is generated at the target only`);
    else if (column.generated && !there.generated)
      problems.push(`column ${column.name} is generated at the source, and nothing would fill it at the target`);
    else if (!holds(there, column, labels))
      problems.push(`column ${column.name} is ${there.type}, the source's is ${column.type}`);
  }
  return problems;
}

function holds(target: ColumnStructure, source: ColumnStructure, awaited: 'there' | 'to come'): boolean {
  if (source.enumLabels !== null && target.enumLabels !== null) {
    const labels = new Set(target.enumLabels);
    return (
      (awaited === 'to come' || source.enumLabels.every((label) => labels.has(label))) &&
      (source.element === undefined) === (target.element === undefined)
    );
  }
  const isSame = target.typeName === source.typeName;
  if (isSame) return target.modifiers === source.modifiers || target.modifiers === '' || isLonger(target, source);
  return (
    target.typeSchema === 'pg_catalog' &&
    target.modifiers === '' &&
    (WIDER[source.typeName]?.includes(target.typeName) ?? false)
  );
}

function isLonger(target: ColumnStructure, source: ColumnStructure): boolean {
  return (
    target.typeName === 'varchar' && source.modifiers !== '' && Number(target.modifiers) >= Number(source.modifiers)
  );
}
