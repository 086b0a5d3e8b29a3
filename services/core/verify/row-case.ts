import type { Lsn } from '#core/lsn.ts';
import type { DifferenceKind } from '#core/verify/verify-report.ts';

/** A row as one side has it. */
export interface RowVersion {
  /** The writing transaction; another version has another one (PostgreSQL: "System Columns"). */
  readonly xmin: string;
  /** md5 of each column, in the order of the compared columns; for a table without identity the number of equal rows. */
  readonly hashes: readonly string[];
}

export type Judgement =
  | { readonly is: 'equal' }
  | { readonly is: 'different'; readonly kind: DifferenceKind; readonly columns: readonly number[] };

/** A version of the source's row that was seen by two reads and so stood all the time between them. */
interface Stand {
  readonly version: RowVersion | null;
  /** End of WAL after the first read that saw it: all that it comes from is before. */
  readonly from: Lsn;
  /** End of WAL before the last read that saw it: nothing that replaced it is before. */
  to: Lsn;
}

const MOST_STANDS = 4_096;
const COUNTS_NEEDED = 3;
const COUNT_INTERVAL_MS = 100;
const CONFIRM_MS = 500;

/**
 * One row under suspicion. It is judged at an LSN of the target: the target's row and `through` are read by one statement,
 * and the source's version that stood at that LSN is known from reads before and after it. So a row that never rests is
 * judged too, as long as it rested for the moment around one of the target's positions.
 *
 * One equal judgement clears it. A different one has to come back: three times, over half a second, since for a moment a
 * source transaction may be in the WAL and not yet visible (a commit that waits for a stand-by).
 */
export class RowCase {
  readonly #stands: Stand[] = [];
  #counts = 0;
  #firstCountAt = 0;
  #lastCountAt = -Infinity;
  #lastThrough: Lsn | null = null;
  #extra: { xmin: string; since: Lsn; absentAt: Lsn | null } | null = null;

  /** A read of the source. `before`: end of WAL at some moment before it began; `after`: at some moment after its snapshot. */
  noteSource(version: RowVersion | null, before: Lsn, after: Lsn): void {
    const stand = this.#stands.at(-1);
    if (stand !== undefined && stand.version?.xmin === version?.xmin) stand.to = before;
    else this.#stands.push({ version, from: after, to: before });
    if (this.#stands.length > MOST_STANDS) this.#stands.shift();
    if (version === null && this.#extra !== null && before >= this.#extra.since) this.#extra.absentAt ??= after;
  }

  /** A read of the target at its position `through`. `now`: milliseconds of any clock. Null: not settled yet. */
  noteTarget(version: RowVersion | null, through: Lsn, now: number): Judgement | null {
    while (this.#stands.length > 1 && (this.#stands[0]?.to ?? through) < through) this.#stands.shift();
    const stand = this.#stands.find(({ from, to }) => from <= through && through <= to);
    const isProven = this.#isProvenExtra(version, stand, through);
    if (stand === undefined) return null;
    const judgement = compareVersions(stand.version, version);
    if (judgement.is === 'equal') return judgement;
    if (!(judgement.kind === 'extra' ? isProven : this.#isNews(stand, through))) return null;
    return this.#count(through, now) ? judgement : null;
  }

  /** The same look at the same position says nothing new, unless the source's version still stands now. */
  #isNews(stand: Stand, through: Lsn): boolean {
    return through !== this.#lastThrough || stand === this.#stands.at(-1);
  }

  /**
   * A source row may come and go between two reads that both miss it. The target's row is proven to be extra when it was
   * there at one position, the source had none at a later moment, and it is still there, the same, at a position past that.
   */
  #isProvenExtra(version: RowVersion | null, stand: Stand | undefined, through: Lsn): boolean {
    if (version === null || (stand !== undefined && stand.version !== null)) {
      this.#extra = null;
      return false;
    }
    if (this.#extra?.xmin !== version.xmin) this.#extra = { xmin: version.xmin, since: through, absentAt: null };
    if (this.#extra.absentAt === null || this.#extra.absentAt > through) return false;
    this.#extra = { xmin: version.xmin, since: through, absentAt: null };
    return true;
  }

  #count(through: Lsn, now: number): boolean {
    if (now - this.#lastCountAt < COUNT_INTERVAL_MS) return false;
    if (this.#counts === 0) this.#firstCountAt = now;
    this.#counts += 1;
    this.#lastCountAt = now;
    this.#lastThrough = through;
    return this.#counts >= COUNTS_NEEDED && now - this.#firstCountAt >= CONFIRM_MS;
  }
}

/** Versions of one row at the same LSN. */
export function compareVersions(source: RowVersion | null, target: RowVersion | null): Judgement {
  if (source === null) return target === null ? { is: 'equal' } : { is: 'different', kind: 'extra', columns: [] };
  if (target === null) return { is: 'different', kind: 'missing', columns: [] };
  const columns = source.hashes.flatMap((hash, index) => (hash === target.hashes[index] ? [] : [index]));
  return columns.length === 0 ? { is: 'equal' } : { is: 'different', kind: 'changed', columns };
}
