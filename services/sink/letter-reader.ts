import type pg from 'pg';
import type { StoredDeadLetter } from '#adapters/postgres/target/dead-letter-store.ts';
import { readTargetTable, type TargetTable } from '#adapters/postgres/target/target-table.ts';
import type { RowChange } from '#core/change.ts';
import { RestageError } from '#core/errors.ts';
import { readStreamHeaders } from '#core/record.ts';
import { findStructures, structureId } from '#core/structure-record.ts';
import type { TableStructure } from '#core/structure.ts';
import { applyPart, type Cut } from './epoch-apply.ts';
import type { LetterTools } from './dead-letter-retry.ts';
import { parseChange } from './event-parser.ts';
import type { StructureChanges } from './part-reader.ts';
import { changesOf } from './postgres-target.ts';
import type { Item } from './part-units.ts';
import type { TableChanges, TableRanks } from './segment-apply.ts';

/** Dead letters as the sink applies them. */
export interface ReadLetters {
  readonly groups: readonly StructureChanges[];
  readonly cuts: readonly Cut[];
  readonly items: readonly (Item | Cut)[];
}

/** Reads dead letters back, by the structures that their pipeline announced. */
export class LetterReader implements LetterTools {
  readonly #structures = new Map<string, TableStructure>();
  readonly #newest = new Map<string, TableStructure>();
  readonly #tables = new Map<string, TargetTable>();

  /** `records`: values of the topic of structures; what is none is left out. */
  constructor(records: Iterable<Buffer>) {
    for (const record of findStructures(records)) {
      this.#structures.set(structureId(record), record.structure);
      this.#newest.set(record.structure.topic, record.structure);
    }
  }

  get tables(): TableStructure[] {
    return [...this.#newest.values()];
  }

  /** @throws RestageError record_invalid, target_altered. */
  async read(client: pg.ClientBase, letters: readonly StoredDeadLetter[]): Promise<ReadLetters> {
    const groups: { structure: TableStructure; version: number; changes: RowChange[] }[] = [];
    const cuts: Cut[] = [];
    const items: (Item | Cut)[] = [];
    for (const letter of letters) {
      if (letter.kind === 'truncate') {
        const cut = await this.#truncation(client, letter);
        cuts.push(cut);
        items.push(cut);
        continue;
      }
      const version = readStreamHeaders(letter)?.structure ?? -1;
      const structure = this.#structureOf(letter, version);
      const change = parseChange(letter, structure);
      let group = groups.find((known) => known.structure === structure);
      if (group === undefined) groups.push((group = { structure, version, changes: [] }));
      group.changes.push(change);
      items.push({ kind: 'change', position: change.position, change, group });
    }
    return { groups, cuts, items };
  }

  async apply(client: pg.ClientBase, { groups, cuts }: ReadLetters, ranks: TableRanks | null): Promise<void> {
    const match = (some: readonly StructureChanges[]): Promise<TableChanges[]> => this.#match(client, some);
    await applyPart(changesOf(client), groups, cuts, {
      match,
      forget: () => undefined,
      mismatch: 'target_drift',
      ranks,
    });
  }

  /** The target's tables for these changes. */
  async #match(client: pg.ClientBase, groups: readonly StructureChanges[]): Promise<TableChanges[]> {
    const matched: TableChanges[] = [];
    for (const { structure, version, changes } of groups) {
      const id = structureId({ version, structure });
      const table = this.#tables.get(id) ?? (await readTargetTable(client, structure));
      this.#tables.set(id, table);
      matched.push({ table, changes });
    }
    return matched;
  }

  #structureOf(letter: StoredDeadLetter, version: number): TableStructure {
    const structure = this.#structures.get(structureId({ version, structure: { topic: letter.topic } }));
    if (structure !== undefined) return structure;
    throw new RestageError('record_invalid', `an event's structure ${version} was never announced`, {
      where: `dead letter ${letter.id}, topic ${letter.topic}, offset ${letter.offset}`,
    });
  }

  async #truncation(client: pg.ClientBase, letter: StoredDeadLetter): Promise<Cut> {
    const { truncate, isPartial, only } = JSON.parse(letter.value?.toString('utf8') ?? '') as {
      truncate: string[];
      isPartial: boolean;
      only?: { column: string; value: string };
    };
    const tables: TargetTable[] = [];
    for (const topic of truncate) {
      const structure = this.#newest.get(topic);
      if (structure === undefined)
        throw new RestageError('record_invalid', 'no structure of this topic was ever announced', {
          where: `topic ${topic}`,
        });
      const bare = { ...structure, columns: [], identity: { ...structure.identity, columns: [] } };
      tables.push(await readTargetTable(client, bare));
    }
    if (letter.position === null) throw new RestageError('bug', 'a TRUNCATE has no position', { where: letter.id });
    return { kind: 'truncate', position: letter.position, tables, isPartial, ...(only === undefined ? {} : { only }) };
  }
}
