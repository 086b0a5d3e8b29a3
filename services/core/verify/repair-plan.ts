import { tableKey, type TableName } from '#core/table-name.ts';
import type { DifferenceKind, RowKey, VerifyReport } from '#core/verify/verify-report.ts';

/** Rows of a table at the target that are to be made what the source and the rules say. */
export interface RepairTable {
  readonly targetTable: TableName;
  readonly keys: readonly RowKey[];
  readonly kinds: Readonly<Record<DifferenceKind, number>>;
}

/** What is left as it is, and what to do about it. */
export interface LeftRows {
  readonly targetTable: TableName;
  readonly rows: number;
  readonly why: string;
}

export interface RepairPlan {
  readonly tables: readonly RepairTable[];
  readonly left: readonly LeftRows[];
}

/** Of what a comparison found: rows with a key that differ, and that no dead letter waits at. */
export function planRepair({ tables }: Pick<VerifyReport, 'tables'>): RepairPlan {
  const plan = { tables: [] as RepairTable[], left: [] as LeftRows[] };
  for (const { targetTable, different, unverified, chunksLeft, reason } of tables) {
    const leave = (rows: number, why: string): void => void (rows > 0 && plan.left.push({ targetTable, rows, why }));
    const keyless = different.filter(({ key }) => isKeyless(key));
    const waiting = different.filter((row) => row.deadLetter !== undefined && !isKeyless(row.key));
    const wanted = different.filter((row) => row.deadLetter === undefined && !isKeyless(row.key));
    leave(keyless.length, 'the table has no key: restage snapshot loads it again');
    leave(waiting.length, 'dead letters wait there: restage dlq list');
    leave(unverified.length, 'they could not be judged: restage verify says why');
    if (reason !== undefined) plan.left.push({ targetTable, rows: 0, why: `not compared: ${reason}` });
    leave(chunksLeft, 'so many chunks more differ: restage repair again, or restage snapshot');
    if (wanted.length === 0) continue;
    const count = (kind: DifferenceKind): number => wanted.filter((row) => row.kind === kind).length;
    const kinds = { missing: count('missing'), extra: count('extra'), changed: count('changed') };
    plan.tables.push({ targetTable, keys: wanted.map(({ key }) => key), kinds });
  }
  return { tables: plan.tables.toSorted(byName), left: plan.left };
}

/** `row`, with the row's md5, is the name of what has none; a key's only column may be called so too. */
function isKeyless(key: RowKey): boolean {
  const [name, ...others] = Object.keys(key);
  return name === 'row' && others.length === 0 && /^[0-9a-f]{32}$/.test(key['row'] ?? '');
}

function byName(a: RepairTable, b: RepairTable): number {
  return tableKey(a.targetTable) < tableKey(b.targetTable) ? -1 : 1;
}
