import type pg from 'pg';
import { readCatalogMark } from '#adapters/postgres/source/partition-bounds.ts';
import { coverTables, findPublicationGaps, type PublicationGap } from '#adapters/postgres/source/publication.ts';
import { markTable, readSiblings, readTableOids } from '#adapters/postgres/source/table-oids.ts';
import { namesWhatIsGone } from '#core/error-policy.ts';
import type { Failpoints } from '#core/failpoints.ts';
import type { Logger } from '#core/log.ts';
import type { ServiceStatus } from '#core/status.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, quoteTable, tableKey, type TableName } from '#core/table-name.ts';

export interface NewTablesOptions {
  readonly client: pg.ClientBase;
  readonly publication: string;
  /** The tables that source.tables chooses, captured or not. */
  readonly readChosen: () => Promise<readonly TableStructure[]>;
  readonly isCaptured: (table: TableStructure) => boolean;
  /** The name by which the table of this OID is captured; null for none. */
  readonly nameOf: (oid: number) => TableName | null;
  /** The OID of the table that is captured by this name; null where it is not known. */
  readonly oidOf: (table: TableStructure) => number | null;
  /** The structure that the newest events of the table of this OID have; null for none. */
  readonly writtenOf: (oid: number) => TableStructure | null;
  readonly status: ServiceStatus;
  readonly logger: Logger;
  readonly failpoints: Failpoints;
  readonly clock: () => number;
}

const LOOK_INTERVAL_MS = 5_000;

/**
 * Tables that came after the load and that source.tables chooses: they are put into the publication where the role may, and then they are
 * ready to be loaded. What stands in the way of one is said once, and looked at again.
 */
export class NewTables {
  readonly #options: NewTablesOptions;
  readonly #said = new Map<string, string>();
  /** Partitions whose columns the stream had not reached, by tableKey. */
  readonly #behind = new Set<string>();
  /** Names that the stream was told of, with OIDs. */
  readonly #marked = new Set<string>();
  #mark = '';
  #lookedAt = -LOOK_INTERVAL_MS;
  #ready: readonly TableStructure[] = [];
  #isWaiting = false;
  #detail = '';

  constructor(options: NewTablesOptions) {
    this.#options = options;
  }

  /** The catalog is read when a table was made or dropped, or while one waits. */
  async find(): Promise<readonly TableStructure[]> {
    const { client, isCaptured, readChosen, clock } = this.#options;
    this.#ready = this.#ready.filter((table) => !isCaptured(table));
    if (clock() - this.#lookedAt < LOOK_INTERVAL_MS) return this.#ready;
    this.#lookedAt = clock();
    const mark = await readCatalogMark(client);
    if (mark === this.#mark && !this.#isWaiting) return this.#ready;
    this.#mark = mark;
    const chosen = await readChosen();
    const found = await this.#withoutRenamed(chosen);
    const ready: TableStructure[] = [];
    for (const table of found) if (await this.#isReady(table)) ready.push(table);
    this.#isWaiting = ready.length < found.length;
    this.#ready = ready;
    this.#show(found);
    return ready;
  }

  /** Something was heard of a table that is not captured. */
  hurry(): void {
    this.#mark = '';
    this.#lookedAt = -LOOK_INTERVAL_MS;
  }

  /**
   * A captured table under another name is no new one, and another table under a captured name is none of the pipeline's: a message in the
   * stream says where they are to be looked at, since what was written of them before stands before it.
   */
  async #withoutRenamed(chosen: readonly TableStructure[]): Promise<TableStructure[]> {
    const { client, isCaptured, nameOf, oidOf } = this.#options;
    const oids = await readTableOids(client, chosen);
    const found: TableStructure[] = [];
    for (const table of chosen) {
      const oid = oids.get(tableKey(table)) ?? null;
      if (oid === null) continue;
      const before = nameOf(oid);
      const isRenamed = before !== null && tableKey(before) !== tableKey(table);
      const isReplaced = isCaptured(table) && (oidOf(table) ?? oid) !== oid;
      if (!isRenamed && !isReplaced) {
        if (!isCaptured(table)) found.push(table);
        continue;
      }
      if (this.#marked.has(`${oid} ${tableKey(table)}`) || !(await this.#isReady(table))) continue;
      await markTable(client, oid);
      this.#marked.add(`${oid} ${tableKey(table)}`);
    }
    return found;
  }

  /**
   * A partition is made at a target as one of a table that has the columns which the stream has reached: the catalog may be ahead of it.
   * One that had to wait waits a look longer, so that what the stream has now is in Kafka before the announcement.
   */
  async #hasPartitionColumns(table: TableStructure): Promise<boolean> {
    const { client, writtenOf } = this.#options;
    const siblings = (await readSiblings(client, table)).flatMap((oid) => writtenOf(oid) ?? []);
    const columns = columnsText(table);
    const name = tableKey(table);
    if (siblings.length > 0 && !siblings.some((sibling) => columnsText(sibling) === columns)) {
      this.#behind.add(name);
      return false;
    }
    return !this.#behind.delete(name);
  }

  /** One after another: what one lacks is not in the way of the next. */
  async #isReady(table: TableStructure): Promise<boolean> {
    const { client, publication, failpoints } = this.#options;
    const name = formatTable(table);
    if (!(await this.#hasPartitionColumns(table))) {
      const why =
        'its columns are newer than those of the other partitions in the stream, which come with the next change of one of them';
      this.#said.set(name, why);
      return false;
    }
    const isCovered = (await findPublicationGaps(client, publication, [table])).length === 0;
    if (table.identity.kind === 'nothing' && !isCovered) {
      // Published, its own server would refuse UPDATE and DELETE: nothing that a reader may bring about.
      this.#said.set(name, `no replica identity: ALTER TABLE ${quoteTable(table)} REPLICA IDENTITY FULL;`);
      return false;
    }
    failpoints.hit('producer.latePublication.before');
    let gap: PublicationGap | null;
    try {
      gap = isCovered ? null : await coverTables(client, publication, [table]);
    } catch (error) {
      if (!namesWhatIsGone(error)) throw error;
      this.#said.delete(name);
      return false;
    }
    failpoints.hit('producer.latePublication.after');
    if (gap === null) this.#said.delete(name);
    else this.#said.set(name, `the publication ${gap.what} it; as its owner: ${gap.fix}`);
    return gap === null;
  }

  /** Never silently: its changes alone would make no table. */
  #show(found: readonly TableStructure[]): void {
    const { status, logger } = this.#options;
    const keys = new Set(found.map(formatTable));
    for (const name of this.#said.keys()) if (!keys.has(name)) this.#said.delete(name);
    const detail = [...this.#said]
      .map(([name, why]) => `${name} came after the load and waits to be loaded: ${why}`)
      .join('; ');
    if (detail !== '' && detail !== this.#detail) logger.warn(detail);
    if (status.detail === this.#detail || detail !== '') status.detail = detail;
    this.#detail = detail;
  }
}

/** Names and types in any order: partitions may have them in their own. */
function columnsText({ columns }: TableStructure): string {
  return JSON.stringify(
    columns.map(({ name, type }) => [name, type]).toSorted(([a = ''], [b = '']) => (a < b ? -1 : 1)),
  );
}

/** By tableKey, the first of each. */
export function uniteTables(...lists: readonly (readonly TableStructure[])[]): TableStructure[] {
  return [...new Map(lists.flat().map((table) => [tableKey(table), table])).values()];
}
