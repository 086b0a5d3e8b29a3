import type pg from 'pg';
import type { ValueType } from '#adapters/postgres/value-type.ts';
import { RestageError } from '#core/errors.ts';
import type { Config, OutputConfig } from '#core/config.ts';
import { declarationOf } from '#core/module/module-config.ts';
import { CapturePolicy, type RowMask } from '#core/rules/capture-policy.ts';
import { byTarget, type Meeting } from '#core/rules/output-rules.ts';
import { compileTable, type TableRules } from '#core/rules/table-rules.ts';
import type { TableStructure } from '#core/structure.ts';
import type { TableName } from '#core/table-name.ts';
import type { TableReport } from '#core/verify/verify-report.ts';
import { isPlain, pairTables, requireColumns, requireTable, type TablePair } from './table-pair.ts';
import { sideOf, type FoundTable, type TableSide } from './table-side.ts';

interface Sides {
  readonly source: pg.ClientBase;
  readonly target: pg.ClientBase;
}

/** A table at the target whose rows are computed from the source's by the rules' own functions, and then compared. */
export interface ShapedTable {
  readonly targetTable: TableName;
  /** Whose rows come to it; more than one where tables are merged. */
  readonly sources: readonly ShapedSource[];
  readonly target: TableSide;
  /** Tables of which rows are looked up. */
  readonly lookedUp: readonly LookedUpSource[];
  /** How the target reads the texts of `columnNames`, in their order. */
  readonly types: readonly ValueType[];
  /** The compared columns. */
  readonly columnNames: readonly string[];
  readonly keyNames: readonly string[];
  /** The other ones, which hold what is no function of the row. */
  readonly columnsLeft: readonly string[];
}

/** A table of the source that is read whole. */
export interface SourceTable {
  readonly source: TableStructure;
  readonly found: FoundTable;
  /** Of its columns with values, in their order, as they are masked at capture; null where none is. */
  readonly mask: RowMask | null;
}

/** One of the tables whose rows come to another. */
export interface ShapedSource extends SourceTable, Meeting {}

export interface LookedUpSource extends SourceTable {
  /** What rules read of it. */
  readonly columns: readonly string[];
}

/** How each table of a target is verified. */
export interface VerifyPlan {
  readonly pairs: readonly TablePair[];
  readonly shaped: readonly ShapedTable[];
  /** Those that cannot be. */
  readonly left: readonly TableReport[];
}

/** What an output makes of the captured tables; each as it is where there is none. @throws RestageError rule_invalid. */
export function compileTables(structures: readonly TableStructure[], output: OutputConfig | undefined): TableRules[] {
  const declaration = output === undefined ? null : declarationOf(output);
  return structures.map((structure) =>
    compileTable(structure, output?.rules ?? [], '', declaration, { captured: structures, tables: output?.tables }),
  );
}

/**
 * `computesMasked`: tables that are masked at capture are computed too, where whole rows are wanted and not their hashes.
 * @throws RestageError target_altered.
 */
export async function planTables(
  config: Config,
  sides: Sides,
  structures: readonly TableStructure[],
  compiled: readonly TableRules[],
  computesMasked = false,
): Promise<VerifyPlan> {
  const pairs: TablePair[] = [];
  const shaped: ShapedTable[] = [];
  const left: TableReport[] = [];
  for (const meetings of byTarget(compiled.filter(({ isForModule }) => isForModule)).values())
    left.push({ ...emptyReport(meetings), reason: 'its rows are what a module gives' });
  for (const meetings of byTarget(compiled.filter(({ isForModule }) => !isForModule)).values()) {
    const [first, ...others] = meetings;
    if (first === undefined) continue;
    const reason = reasonAgainst(meetings);
    if (reason !== null) left.push({ ...emptyReport(meetings), reason });
    else if (others.length === 0 && isPlain(first.branch, first.source) && !(computesMasked && isMasked(first.source)))
      pairs.push(await pairTables(config, sides, first.source, first.branch));
    else shaped.push(await shapeTable(config, sides, meetings, structures));
  }
  return { pairs, shaped, left };
}

function isMasked({ columns }: TableStructure): boolean {
  return columns.some(({ mask }) => mask !== undefined);
}

/** A report of a table of which nothing is known yet. */
export function emptyReport(meetings: readonly Meeting[]): TableReport {
  const [first, ...others] = meetings.map(({ source: { schema, table } }) => ({ schema, table }));
  const { schema = '', table = '' } = meetings[0]?.branch.shaped ?? {};
  return {
    table: first ?? { schema: '', table: '' },
    ...(others.length === 0 ? {} : { alsoFrom: others }),
    targetTable: { schema, table },
    rows: 0,
    chunks: 0,
    chunksLeft: 0,
    different: [],
    unverified: [],
  };
}

/** Why a table's rows are no function of the source's rows; null where they are one. */
function reasonAgainst(meetings: readonly Meeting[]): string | null {
  for (const { branch } of meetings) {
    const { columns } = branch.shaped.identity;
    const timed = columns.filter((column) => branch.timed.includes(column));
    if (timed.length > 0) return `its key is made from when a row's transaction was committed: ${timed.join(', ')}`;
  }
  return null;
}

async function shapeTable(
  config: Config,
  { source, target }: Sides,
  meetings: readonly Meeting[],
  captured: readonly TableStructure[],
): Promise<ShapedTable> {
  const [first] = meetings;
  if (first === undefined) throw new RestageError('bug', 'a table at the target that no rule gives');
  const { shaped } = first.branch;
  const to = await requireTable(target, shaped, 'target');
  const columnsLeft = [...new Set(meetings.flatMap(({ branch }) => branch.timed))];
  const names = shaped.columns
    .filter(({ name, generated }) => !generated && !columnsLeft.includes(name))
    .map(({ name }) => name);
  requireColumns(to, names, shaped);
  const policy = new CapturePolicy(config);
  const sources: ShapedSource[] = [];
  const tableOf = async (structure: TableStructure): Promise<SourceTable> => {
    const stored = structure.columns.filter(({ generated }) => !generated).map(({ name }) => name);
    const mask = policy.rowMask(structure, stored);
    return { source: structure, found: await requireTable(source, structure, 'source'), mask };
  };
  for (const meeting of meetings) sources.push({ ...meeting, ...(await tableOf(meeting.source)) });
  const lookUps = meetings.flatMap(({ branch }) => branch.lookUps);
  const lookedUp: LookedUpSource[] = [];
  for (const structure of captured) {
    const used = lookUps.filter(({ topic }) => topic === structure.topic);
    const columns = [...new Set(used.flatMap(({ reads }) => reads))];
    if (used.length > 0) lookedUp.push({ ...(await tableOf(structure)), columns });
  }
  const keyNames = shaped.identity.columns;
  return {
    targetTable: { schema: shaped.schema, table: shaped.table },
    sources,
    lookedUp,
    target: sideOf(to, names, keyNames),
    types: names.map((name) => to.columns.get(name)).filter((type) => type !== undefined),
    columnNames: names,
    keyNames,
    columnsLeft,
  };
}
