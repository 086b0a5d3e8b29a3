import { NO_HEADERS } from '#core/fixed-headers.ts';
import type { Lsn } from '#core/lsn.ts';
import { structureRecord } from '#core/structure-record.ts';
import type { TableStructure } from '#core/structure.ts';
import { TopicBatches } from '#core/topic-batches.ts';
import type { Announcement } from './late-loads.ts';
import type { RewrittenError } from './table-alteration.ts';

/** Stands among the stream's parts: before the next one these tables are announced, unless a load since then has the change. */
export interface RewriteMark {
  readonly announcement: Announcement;
  /** Of the transaction that holds the first change after the rewrite. */
  readonly commit: Lsn;
}

/** The stream is read again from where Kafka has it, and cut before the transaction in which a rewrite was noticed. */
export class RewriteMetSignal extends Error {
  override readonly name = 'RewriteMetSignal';
}

/** Rewrites that were noticed: what a producer's next attempt must announce, and where. They outlive attempts, not the process. */
export class Rewrites {
  readonly #schemasTopic: string;
  readonly #byCommit = new Map<Lsn, TableStructure[]>();

  constructor(schemasTopic: string) {
    this.#schemasTopic = schemasTopic;
  }

  /** @throws RestageError the rewrite's own where it was met before: then announcing it did not help. */
  note(error: RewrittenError, commit: Lsn): void {
    const known = this.#byCommit.get(commit) ?? [];
    if (known.some(({ topic }) => topic === error.table.topic)) throw error;
    this.#byCommit.set(commit, [...known, error.table]);
  }

  /** What stands before the transaction of this commit; null for nothing. Of a table under a new name readers know no structure yet. */
  markBefore(commit: Lsn): RewriteMark | null {
    const tables = this.#byCommit.get(commit);
    if (tables === undefined) return null;
    const structures = new TopicBatches();
    for (const { key, value } of tables.map(structureRecord))
      structures.append(this.#schemasTopic, key, value, NO_HEADERS);
    return { announcement: { tables, requests: [], data: structures.finish() }, commit };
  }
}
