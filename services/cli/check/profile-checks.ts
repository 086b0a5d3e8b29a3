import { addColumnFacts } from '#adapters/postgres/source/column-facts.ts';
import { unmappedColumns } from '#core/debezium/row-codec.ts';
import { formatTable } from '#core/table-name.ts';
import type { CheckContext } from './check-context.ts';
import { listSome, type Check, type Finding } from './finding.ts';

/** What profile `debezium` does not tell its readers. */
export const PROFILE_CHECKS: readonly Check[] = [{ id: 'profile.columns', severity: 'warn', run: checkColumns }];

async function checkColumns({ config, source, tables }: CheckContext): Promise<Finding[]> {
  const options = config.source.profile ?? config.outputs.find(({ profile }) => profile)?.profile;
  if (options === undefined || options === null) return [];
  const left = (await addColumnFacts(source, tables)).flatMap((table) =>
    unmappedColumns(table, options).map((column) => `${formatTable(table)}.${column}`),
  );
  if (left.length === 0) return [];
  return [
    {
      what: `profile debezium leaves out ${left.length} columns, whose types Debezium has no form for`,
      evidence: listSome(left),
      fix: 'read them from topics of profile lossless, or give the columns other types; docs/debezium.md lists what is lost',
    },
  ];
}
