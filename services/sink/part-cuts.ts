import type { TargetTable } from '#adapters/postgres/target/target-table.ts';
import { parseLsn, type Lsn } from '#core/lsn.ts';
import type { Manifest } from '#core/manifest.ts';
import type { ColumnChange } from '#core/structure-change.ts';
import type { TableStructure } from '#core/structure.ts';
import { positionOf, type Cut } from './epoch-apply.ts';
import type { StructureBook } from './structure-book.ts';
import type { TargetSession } from './target.ts';

/** Where an epoch is cut, so that the sink stands at exactly this LSN; null for none. */
export type Ceiling = Lsn | null;

/** The stream is at this LSN, or past it, with what the manifest brings. */
export function reaches({ last, lastCommit, through }: Manifest, lsn: Lsn): boolean {
  return (lastCommit !== null && parseLsn(lastCommit) >= lsn) || (last && parseLsn(through) >= lsn);
}

interface CutTools {
  readonly session: Pick<TargetSession, 'catalog'>;
  readonly structures: StructureBook;
  readonly addLabels: (table: TableStructure, changes: readonly ColumnChange[]) => Promise<void>;
  readonly floorOf: (topic: string) => Lsn;
}

/** What truncates or alters tables in this part of the epoch, before `ceiling`; an alteration's enum labels are added at once. */
export async function readCuts(manifest: Manifest, ceiling: Ceiling, tools: CutTools): Promise<Cut[]> {
  const { session, structures, addLabels, floorOf } = tools;
  const cuts: Cut[] = [];
  for (const entry of manifest.control) {
    if (entry.kind === 'barrier') continue;
    const position = positionOf(entry);
    if (ceiling !== null && position.commit >= ceiling) continue;
    const isAfter = (topic: string): boolean => position.commit >= floorOf(topic);
    if (entry.kind === 'ddl') {
      if (!isAfter(entry.topic)) continue;
      const to = structures.structure(entry.topic, entry.to);
      await addLabels(to, entry.changes);
      cuts.push({ kind: 'alter', position, to, changes: entry.changes, columnsOf: entry.columnsOf ?? null });
      continue;
    }
    const topics = entry.topics.filter(isAfter);
    const tables: TargetTable[] = [];
    for (const topic of topics) tables.push(await structures.bareTable(session.catalog, topic));
    const only = entry.only === undefined ? {} : { only: entry.only };
    cuts.push({ kind: 'truncate', position, tables, isPartial: topics.length < entry.topics.length, ...only });
  }
  return cuts;
}
