import type pg from 'pg';
import { sqlStateOf } from '#core/error-policy.ts';
import { databaseOf } from '#core/address.ts';
import type { OutputConfig } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import { findKeyMeetings, type KeyMeeting } from '#core/rules/key-meetings.ts';
import { atPlace } from '#core/rules/rule-place.ts';
import { formatTable, quoteIdentifier, quoteTable } from '#core/table-name.ts';
import { isChosen, plainName } from '#core/table-patterns.ts';
import { compileTables } from '../verify/shaped-table.ts';
import type { CheckContext } from './check-context.ts';
import { listSome, type Check, type Finding } from './finding.ts';

/** What the rules' own words do not tell: rows that meet at a key, and rows that come back to where they came from. */
export const KEY_CHECKS: readonly Check[] = [
  { id: 'rules.keys', severity: 'block', run: checkKeys },
  { id: 'rules.cycle', severity: 'block', run: (context) => Promise.resolve(checkCycles(context)) },
];

const PATIENCE = '5s';

async function checkKeys({ config, tables, source }: CheckContext): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const output of config.outputs)
    for (const meeting of findMeetings(output, tables)) {
      const doMeet = await askSource(source, meeting);
      findings.push(describe(meeting, doMeet));
    }
  return findings;
}

/** None where the rules are wrong: another check says so. */
function findMeetings(output: OutputConfig, tables: CheckContext['tables']): KeyMeeting[] {
  try {
    return findKeyMeetings(compileTables(tables, output));
  } catch (error) {
    if (error instanceof RestageError) return [];
    throw error;
  }
}

/** null where it takes too long to tell. */
async function askSource(source: pg.ClientBase, { sides: [first, second] }: KeyMeeting): Promise<boolean | null> {
  if (first === undefined) return false;
  const columns = (table: string, names: readonly string[]): string =>
    names.map((name) => `${table}.${quoteIdentifier(name)}`).join(', ');
  const own = columns('a', first.columns);
  const sql =
    second === undefined
      ? `SELECT FROM ${quoteTable(first.source)} a WHERE (${own}) IS NOT NULL GROUP BY ${own} HAVING count(*) > 1 LIMIT 1`
      : `SELECT FROM ${quoteTable(first.source)} a JOIN ${quoteTable(second.source)} b ON (${own}) = (${columns('b', second.columns)}) LIMIT 1`;
  try {
    await source.query('BEGIN READ ONLY');
    await source.query("SELECT pg_catalog.set_config('statement_timeout', $1, true)", [PATIENCE]);
    return ((await source.query(sql)).rowCount ?? 0) > 0;
  } catch (error) {
    if (sqlStateOf(error) === '57014') return null;
    throw error;
  } finally {
    await source.query('ROLLBACK');
  }
}

function describe({ sides, targetTable, place, isFiltered }: KeyMeeting, doMeet: boolean | null): Finding {
  const of = sides.map(({ source, columns }) => `${formatTable(source)} (${columns.join(', ')})`).join(' and ');
  const at = `the key of ${formatTable(targetTable)}`;
  const evidence = atPlace(place, of);
  const fix =
    sides.length > 1
      ? 'add a constant column to the key of each rule (set, key), as docs/rules.md does with year'
      : 'let the key hold all columns of a primary key or unique key of the source';
  if (doMeet === true)
    return {
      what: `rows clash on ${at}: several of the source have one${isFiltered ? ', before where' : ''}`,
      evidence,
      fix,
      ...(isFiltered ? { severity: 'warn' as const } : {}),
    };
  const now =
    doMeet === null ? `nobody knows whether they do, it takes longer than ${PATIENCE} to tell` : 'none do now';
  return { what: `nothing keeps rows of the source apart on ${at}: ${now}`, evidence, fix, severity: 'warn' };
}

/** A target's table that the source captures again. */
function checkCycles({ config, targets }: CheckContext): Finding[] {
  const home = databaseOf(config.source.url);
  return targets
    .filter((target) => home !== null && databaseOf(target.config.url) === home)
    .flatMap((target): Finding[] => {
      const again = target.tables.filter((table) => isChosen(table, config.source.tables));
      if (again.length === 0) return [];
      return [
        {
          what: `target ${target.config.name} is the source's own database, and its tables are captured again: a cycle`,
          evidence: `targets[].postgres.url of ${target.config.name}; ${listSome(again.map(formatTable))}`,
          fix: `give the target another database; or leave its tables out of source.tables: ${listSome(again.map((table) => `"!${plainName(table)}"`))}`,
        },
      ];
    });
}
