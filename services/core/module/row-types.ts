import { isToastable } from '#core/rules/table-rules.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';
import { formatTable } from '#core/table-name.ts';

const HEAD = `// Made by \`restage types\` from the captured tables. Make it again when they change.
import type { Unchanged } from 'restage/transform';

`;

/** The TypeScript file with the types of captured tables, for `defineTransform<Tables>`. */
export function makeRowTypes(structures: readonly TableStructure[]): string {
  const tables = structures.map(tableTypes).join('');
  const body = `export type Tables = {\n${tables}};\n`;
  return body.includes('Unchanged') ? HEAD + body : HEAD.replace(/import .*\n/, '') + body;
}

function tableTypes(structure: TableStructure): string {
  const { identity } = structure;
  const columns = structure.columns.filter(({ generated }) => !generated);
  const key = columns.filter(({ name }) => identity.columns.includes(name));
  const keyType = key.length === 0 ? 'null' : rowType(key.map((column) => field(column, '')));
  const row = rowType(columns.map((column) => field(column, '')));
  const updated = rowType(
    columns.map((column) => {
      const mayStay =
        !identity.isFull && !identity.columns.includes(column.name) && isToastable(structure, column.name);
      return field(column, mayStay ? ' | Unchanged' : '');
    }),
  );
  const before = identity.isFull ? row : keyType;
  return `  ${JSON.stringify(formatTable(structure))}: {\n    key: ${keyType};\n    row: ${row};\n    before: ${before};\n    updated: ${updated};\n  };\n`;
}

function rowType(fields: readonly string[]): string {
  return fields.length === 0 ? 'Record<never, never>' : `{\n${fields.join('')}    }`;
}

function field(column: ColumnStructure, more: string): string {
  const form = column.json === 'integer' ? 'number' : column.json === 'boolean' ? 'boolean' : 'string';
  return `      readonly ${JSON.stringify(column.name)}: ${form}${column.notNull ? '' : ' | null'}${more};\n`;
}
