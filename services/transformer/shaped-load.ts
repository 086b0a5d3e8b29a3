import { RestageError } from '#core/errors.ts';
import type { ManifestDraft } from '#core/epoch-writer.ts';
import type { Manifest, StoredManifest } from '#core/manifest.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, tableKey } from '#core/table-name.ts';
import type { EventShaper } from './event-shaper.ts';

type PlannedTable = NonNullable<Manifest['tables']>[number];
type NamedTable = NonNullable<Manifest['table']>;

/**
 * A load behind the rules. A table's chunks count for the first table that its rules give, under numbers of their own where several tables
 * come together there; a table at the target is loaded when all that it comes from are.
 */
export class ShapedLoad {
  readonly #shaper: EventShaper;
  /** By raw topic: the number that its first chunk has. */
  readonly #bases = new Map<string, number>();
  /** Raw topics of the load that are not at their end. */
  readonly #open = new Set<string>();
  #planned: PlannedTable[] = [];
  #ended: NamedTable[] = [];
  #isFirst = true;

  constructor(shaper: EventShaper) {
    this.#shaper = shaper;
  }

  /** The newest plan's or announcement's tables. */
  get planned(): PlannedTable[] {
    return this.#planned;
  }

  /** A plan or an announcement, in their order. @throws RestageError rule_failed where only some of a merged table's sources are in it. */
  plan({ tables = [] }: Pick<Manifest, 'tables'>): void {
    const planned = new Map<string, PlannedTable>();
    for (const table of tables) {
      this.#open.add(table.topic);
      const [first, ...others] = this.#shaper.rulesOf(table.topic).branches;
      if (first === undefined) continue;
      const known = planned.get(first.shaped.topic);
      this.#bases.set(table.topic, known?.chunks ?? 0);
      planned.set(first.shaped.topic, add(known, plannedAs(table, first.shaped)));
      for (const { shaped } of others) {
        const other = planned.get(shaped.topic);
        if (other === undefined) planned.set(shaped.topic, { ...nameOf(shaped), chunks: 0, rows: table.rows });
        else planned.set(shaped.topic, { ...other, rows: other.rows + table.rows });
      }
    }
    // Those that the first plan lacks were made later.
    if (!this.#isFirst) this.#requireWhole(tables, planned.values());
    this.#isFirst = false;
    this.#planned = [...planned.values()];
  }

  /** null: the output has nothing of this table. */
  tableOf(topic: string): NamedTable | null {
    const [first] = this.#shaper.rulesOf(topic).branches;
    return first === undefined ? null : nameOf(first.shaped);
  }

  /** A raw table is at its end, and the tables at the target that are so with it. */
  end(topic: string): void {
    this.#open.delete(topic);
    this.#ended = this.#shaper
      .rulesOf(topic)
      .branches.filter(({ shaped }) => !this.#shaper.sourcesOf(shaped.topic).some((source) => this.#open.has(source)))
      .map(({ shaped }) => nameOf(shaped));
  }

  /** What a chunk's or a table's end names, behind the rules. */
  place(topic: string, { kind, chunk }: Manifest): Pick<Manifest, 'table' | 'chunk' | 'ended'> {
    const table = this.tableOf(topic);
    if (table === null) return {};
    if (kind === 'chunk') return { table, chunk: (this.#bases.get(topic) ?? 0) + (chunk ?? 0) };
    const [only, ...others] = this.#ended;
    return { table, ...(only?.topic === table.topic && others.length === 0 ? {} : { ended: this.#ended }) };
  }

  /** A table that is loaded anew is emptied first, so all of its rows must come again. */
  #requireWhole(tables: readonly PlannedTable[], planned: Iterable<PlannedTable>): void {
    const taken = new Set(tables.map(({ topic }) => topic));
    for (const table of planned) {
      const missing = this.#shaper.sourcesOf(table.topic).filter((source) => !taken.has(source));
      if (missing.length === 0) continue;
      throw new RestageError('rule_failed', 'a table that is merged with others is loaded again without them', {
        where: `${formatTable(table)}; not in this load: ${missing.join(', ')}`,
        fix: "load all of them: restage snapshot with each; or raise the output's version once that is done",
      });
    }
  }
}

/** Where its chunks end in the source's table is the producer's alone to know; bounds and an earlier name are those of its table under its own name. */
function plannedAs(
  { chunks, rows, bounds, renamedFrom, ...source }: PlannedTable,
  shaped: TableStructure,
): PlannedTable {
  const isRenamed = tableKey(shaped) !== tableKey(source);
  return {
    ...nameOf(shaped),
    chunks,
    rows,
    ...(bounds === undefined || isRenamed ? {} : { bounds }),
    ...(renamedFrom === undefined || isRenamed ? {} : { renamedFrom }),
  };
}

function add(known: PlannedTable | undefined, table: PlannedTable): PlannedTable {
  return known === undefined ? table : { ...known, chunks: known.chunks + table.chunks, rows: known.rows + table.rows };
}

function nameOf({ schema, table, topic }: TableStructure): NamedTable {
  return { schema, table, topic };
}

/** While chunks are passed on the shaped stream stands still: it has not what the raw one wrote meanwhile. */
export function reachedInLoad(
  last: StoredManifest | null,
  { through }: Manifest,
): Pick<ManifestDraft, 'epoch' | 'through' | 'lastCommit' | 'lastOrdinal' | 'commitTime'> {
  // The plan's: no epoch of the stream comes before it. Its snapshot may be later than epochs that are still to be passed on.
  if (last === null) return { epoch: 0, through, lastCommit: null, lastOrdinal: 0, commitTime: null };
  const { epoch, lastCommit, lastOrdinal, commitTime } = last.manifest;
  return { epoch, through: last.manifest.through, lastCommit, lastOrdinal, commitTime };
}
