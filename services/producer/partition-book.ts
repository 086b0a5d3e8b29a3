import type pg from 'pg';
import type { Relation } from '#adapters/postgres/source/pgoutput-message.ts';
import { readPartitions, readRoot, type PartitionedTable } from '#adapters/postgres/source/partitions.ts';
import { RestageError } from '#core/errors.ts';
import { partitionsIn } from '#core/structure-change.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, quoteTable, tableKey, type TableName } from '#core/table-name.ts';
import { marksAsKey } from './relation-shape.ts';
import type { WrittenStructures } from './written-structures.ts';

/** A partitioned table that is captured as one. */
export interface Root extends TableName {
  readonly oid: number;
}

/** Partitions that came or went with rows lead to another load of the table, or stop the pipeline (`source.onRewrite`). */
export type OnRewrite = 'stop' | 'snapshot';

/**
 * Where partitioned tables are captured as one (`source.partitions: roots`): which one each relation of the stream belongs to. The
 * publication names the partitions, so that a TRUNCATE of one is seen; attaching, detaching and dropping one is seen in the catalog only.
 */
export class PartitionBook {
  readonly #client: pg.ClientBase;
  readonly #onRewrite: OnRewrite;
  readonly #roots = new Map<number, Root>();
  /** Partitions of which the stream or the load may have brought rows, by the root's OID. */
  readonly #leaves = new Map<number, Set<number>>();
  /** Partitions that were made since, of which nothing came yet. */
  readonly #fresh = new Set<number>();
  /** What changed, by the root's OID: tables that are to be loaded again. */
  readonly #changed = new Map<number, string>();

  private constructor(client: pg.ClientBase, onRewrite: OnRewrite) {
    this.#client = client;
    this.#onRewrite = onRewrite;
  }

  /** @throws RestageError ddl_unsupported when partitions went, or were attached, since the newest events in Kafka, and that is to stop it. */
  static async open(
    client: pg.ClientBase,
    chosen: readonly TableStructure[],
    written: WrittenStructures,
    onRewrite: OnRewrite,
  ): Promise<PartitionBook> {
    const book = new PartitionBook(client, onRewrite);
    const found = await readPartitions(client, null);
    for (const table of chosen) {
      const root = found.get(tableKey(table));
      if (root === undefined) continue;
      const recorded = partitionsIn(written.currentOf(table.topic)?.source?.fileNode ?? null);
      const known = recorded.size === 0 ? root.leaves.map(({ oid }) => oid) : recorded;
      book.#leaves.set(root.oid, new Set(known));
      for (const oid of [...known, ...root.leaves.map((leaf) => leaf.oid)]) book.#roots.set(oid, root);
      book.#compare(root);
    }
    return book;
  }

  /** A table that is captured from now on, whatever partitions it has by then. */
  async add(table: TableStructure): Promise<void> {
    const root = (await readPartitions(this.#client, null)).get(tableKey(table));
    if (root === undefined) return;
    this.#leaves.set(root.oid, new Set(root.leaves.map(({ oid }) => oid)));
    for (const { oid } of root.leaves) this.#roots.set(oid, root);
  }

  /** The partitioned table that a relation's events belong to; null where it is an ordinary table. */
  async rootOf({ oid }: Pick<Relation, 'oid'>): Promise<Root | null> {
    const known = this.#roots.get(oid) ?? (await readRoot(this.#client, oid));
    if (known === null) return null;
    this.#roots.set(oid, known);
    return known;
  }

  /**
   * Before events of one of its partitions: whether the stream has every row of it. False for one that was attached, and of which no load
   * has the rows yet.
   */
  async takeIn(root: Root, { oid }: Pick<Relation, 'oid'>): Promise<boolean> {
    const known = this.#leaves.get(root.oid);
    if (known === undefined) return true;
    const now = [...(await readPartitions(this.#client, root.oid)).values()][0];
    this.#compare(now ?? { ...root, leaves: [] });
    if (!known.has(oid) && !this.#fresh.has(oid)) return false;
    known.add(oid);
    return true;
  }

  /** Partitioned tables whose partitions came or went with rows since they were loaded, by tableKey, and what happened. */
  get changed(): ReadonlyMap<string, string> {
    const tables = new Map<string, string>();
    for (const [oid, what] of this.#changed)
      for (const root of this.#roots.values()) if (root.oid === oid) tables.set(tableKey(root), what);
    return tables;
  }

  /** Their load is announced, and its snapshot still to come: whatever partitions they have now is in it. */
  async settle(tables: readonly TableName[]): Promise<void> {
    const found = await readPartitions(this.#client, null);
    for (const table of tables) {
      const now = found.get(tableKey(table));
      const root = now ?? [...this.#roots.values()].find((one) => tableKey(one) === tableKey(table));
      if (root === undefined || !this.#leaves.has(root.oid)) continue;
      const leaves = (now?.leaves ?? []).map(({ oid }) => oid);
      this.#leaves.set(root.oid, new Set(leaves));
      for (const oid of leaves) this.#roots.set(oid, root);
      this.#changed.delete(root.oid);
    }
  }

  /** The relation whose structure a relation's rows have: itself, or the partitioned table above it. */
  tableOf(oid: number): number {
    return this.#roots.get(oid)?.oid ?? oid;
  }

  /** Whether relations truncated together are all that a partitioned table had rows in: else which rows went is not in the stream. */
  isWhole(table: TableName, relations: readonly number[]): boolean {
    const root = [...this.#roots.values()].find((one) => tableKey(one) === tableKey(table));
    const leaves = root === undefined ? [] : (this.#leaves.get(root.oid) ?? []);
    return [...leaves].every((oid) => relations.includes(oid));
  }

  /** Looks at the catalog. @throws RestageError ddl_unsupported where a change is to stop it. */
  async requireAllKept(): Promise<void> {
    if (this.#leaves.size === 0) return;
    const found = new Map([...(await readPartitions(this.#client, null)).values()].map((root) => [root.oid, root]));
    for (const oid of this.#leaves.keys()) {
      const known = [...this.#roots.values()].find((root) => root.oid === oid);
      const now = found.get(oid) ?? (known === undefined ? null : { ...known, leaves: [] });
      if (now !== null) this.#compare(now);
    }
  }

  #compare(root: PartitionedTable): void {
    const known = this.#leaves.get(root.oid);
    if (known === undefined) return;
    const gone = [...known].filter((oid) => !root.leaves.some((leaf) => leaf.oid === oid));
    if (gone.length > 0) this.#note(root, `${gone.length} of its partitions were dropped or detached`);
    for (const leaf of root.leaves) {
      if (known.has(leaf.oid) || this.#fresh.has(leaf.oid)) continue;
      if (leaf.isMade) {
        this.#fresh.add(leaf.oid);
        this.#roots.set(leaf.oid, root);
      } else this.#note(root, `${formatTable(leaf)} was attached, perhaps with rows`);
    }
  }

  #note(root: Root, what: string): void {
    if (this.#onRewrite === 'stop') throw changed(root, what);
    this.#changed.set(root.oid, what);
  }
}

/** What readers of one table's rows and keys rely on in every partition. @throws RestageError source_denied, identity_missing. */
export async function requirePartitions(client: pg.ClientBase, chosen: readonly TableStructure[]): Promise<void> {
  const found = await readPartitions(client, null);
  for (const table of chosen) {
    for (const leaf of found.get(tableKey(table))?.leaves ?? []) {
      const where = `${formatTable(leaf)}, a partition of ${formatTable(table)}`;
      if (!leaf.isLogged)
        throw new RestageError('source_not_ready', 'a partition is foreign or unlogged: its changes are in no WAL', {
          where,
          fix: 'make it an ordinary partition, or leave the table out of source.tables',
        });
      if (!leaf.mayRead)
        throw new RestageError('source_denied', 'the role may not read a partition', {
          where,
          fix: `GRANT SELECT ON ${quoteTable(leaf)} TO CURRENT_USER; -- as its owner, for the role of source.postgres.url`,
        });
    }
  }
}

/** @throws RestageError identity_missing when a partition's events name their rows otherwise than the table does. */
export function requireSameIdentity(relation: Relation, table: TableStructure): void {
  const { identity } = table;
  if (identity.kind === 'nothing') return;
  const isSame = identity.isFull ? relation.replicaIdentity === 'f' : marksAsKey(relation.columns, identity.columns);
  if (isSame) return;
  const leaf = { schema: relation.schema, table: relation.table };
  throw new RestageError('identity_missing', 'a partition has another replica identity than its table', {
    where: `${formatTable(leaf)}, a partition of ${formatTable(table)}`,
    fix: `ALTER TABLE ${quoteTable(leaf)} REPLICA IDENTITY ${identityWords(table)}; then start the pipeline anew under another name`,
  });
}

function identityWords({ identity }: TableStructure): string {
  if (identity.isFull) return 'FULL';
  return identity.kind === 'primaryKey' ? 'DEFAULT' : `USING INDEX its index over (${identity.columns.join(', ')})`;
}

function changed(table: TableName, what: string): RestageError {
  return new RestageError(
    'ddl_unsupported',
    'a partitioned table changed at the source in a way that is not in the stream',
    {
      where: `${formatTable(table)}: ${what}`,
      fix: 'set source.onRewrite: snapshot and start again, so that the table is loaded as it is now; or leave it out of source.tables',
    },
  );
}
