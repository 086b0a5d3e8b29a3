import type { OutputConfig } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import { declarationOf } from '#core/module/module-config.ts';
import { compileTable } from '#core/rules/table-rules.ts';
import type { TableStructure } from '#core/structure.ts';
import { tableKey } from '#core/table-name.ts';

type Output = Pick<OutputConfig, 'rules' | 'tables' | 'module'> | undefined;

/** The tables that a target of an output has, each once; the tables themselves where there is none. @throws RestageError rule_invalid. */
export function shapeTables(tables: readonly TableStructure[], output: Output): TableStructure[] {
  if (output === undefined) return [...tables];
  return distinct(tables.flatMap((table) => shape(table, tables, output)));
}

/** The same, with tables whose rules are wrong as they are. */
export function shapeSoundTables(tables: readonly TableStructure[], output: Output): TableStructure[] {
  if (output === undefined) return [...tables];
  const sound = tables.flatMap((table) => {
    try {
      return shape(table, tables, output);
    } catch (error) {
      if (error instanceof RestageError && error.code === 'rule_invalid') return [table];
      throw error;
    }
  });
  return distinct(sound);
}

function shape(
  table: TableStructure,
  captured: readonly TableStructure[],
  output: NonNullable<Output>,
): TableStructure[] {
  const { rules, tables } = output;
  return compileTable(table, rules, '', declarationOf(output), { captured, tables }).branches.map(
    ({ shaped }) => shaped,
  );
}

function distinct(shaped: readonly TableStructure[]): TableStructure[] {
  return [...new Map(shaped.toReversed().map((table) => [tableKey(table), table])).values()].toReversed();
}
