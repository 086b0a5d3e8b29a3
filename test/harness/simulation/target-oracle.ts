import { LSN_ZERO, type Lsn } from '#core/lsn.ts';
import { RELATIONS, type MemoryWal } from './memory-wal.ts';
import type { TargetStore } from './target-store.ts';

/** Looks at every state of a target that a reader could see, and says what is wrong with it. */
export class TargetOracle {
  readonly #wal: MemoryWal;
  readonly #topics: readonly string[];
  /** The initial load was done once: from then on every state must be one that the source had (invariant 4). */
  #isWatched = false;
  /** States that were held against the source's. */
  looks = 0;
  readonly faults: string[] = [];

  /** `topics`: of each relation, in their order. */
  constructor(wal: MemoryWal, topics: readonly string[]) {
    this.#wal = wal;
    this.#topics = topics;
  }

  see(after: TargetStore, before: TargetStore): void {
    const [now, then] = [after.checkpoint, before.checkpoint];
    if (now === null) return;
    if (then !== null) {
      if (now.through < then.through) this.faults.push(`through goes back from ${then.through} to ${now.through}`);
      if (now.nextOffset < then.nextOffset)
        this.faults.push(`the offset goes back from ${then.nextOffset} to ${now.nextOffset}`);
      if (now.pass < then.pass) this.faults.push('the stream was begun, and the load again');
      if (now.isLoadDone && !then.isLoadDone && after.late !== null) this.faults.push('a late load is open, and done');
    }
    if (now.isLoadDone) this.#isWatched = true;
    if (this.#isWatched) this.requireStateAt(now.through, after);
  }

  /** The tables are the source's at this LSN, but for whole transactions that became dead letters. */
  requireStateAt(lsn: Lsn, store: TargetStore): void {
    this.looks += 1;
    const left = leftOut(store);
    for (const [index, relation] of RELATIONS.entries()) {
      const expected = [...this.#wal.rowsWithout(left, lsn, relation)].map(([id, value]) => `${id} ${value}`);
      const rows = store.tables.get(this.#topics[index] ?? '') ?? new Map<string, ReadonlyMap<string, string>>();
      const found = [...rows.values()].map((row) => [...row.values()].join(' '));
      const [a, b] = [found.toSorted().join(', '), expected.toSorted().join(', ')];
      if (a !== b) this.faults.push(`at ${lsn}, relation ${relation} has [${short(a)}] instead of [${short(b)}]`);
    }
  }

  /** Every event is applied or a dead letter, whole transactions each; and each of those has its reason (invariant 3). */
  requireReasons(store: TargetStore, sent: ReadonlySet<string>, mayRefuse: boolean): void {
    const letters = [...store.letters.values()].map(({ letter }) => letter);
    const places = new Set(letters.map(({ topic, position }) => `${topic} ${position?.commit}:${position?.ordinal}`));
    if (places.size !== letters.length) this.faults.push('an event is a dead letter twice');
    if (!mayRefuse && letters.length > 0) this.faults.push('nothing was refused, and there are dead letters');
    for (const { id, behind, code } of letters) {
      if (!sent.has(id)) this.faults.push(`dead letter ${id} was never sent`);
      if (behind !== null && !store.letters.has(behind)) this.faults.push(`dead letter ${id} waits for nobody`);
      if (behind === null && code !== 'target_constraint') this.faults.push(`dead letter ${id} is one for ${code}`);
    }
    for (const commit of leftOut(store)) {
      const own = this.#wal.events(commit, (commit + 1n) as Lsn).filter((event) => !event.endsWith(' '));
      const found = letters.filter(({ position, kind }) => position?.commit === commit && kind !== 'truncate');
      if (own.length !== found.length)
        this.faults.push(`${found.length} of ${own.length} events of transaction ${commit} are dead letters`);
    }
  }
}

function leftOut(store: TargetStore): ReadonlySet<Lsn> {
  return new Set([...store.letters.values()].map(({ letter }) => letter.position?.commit ?? LSN_ZERO));
}

/** Big values are not worth reading. */
function short(rows: string): string {
  return rows.replaceAll(/x{9,}/g, 'x…');
}
