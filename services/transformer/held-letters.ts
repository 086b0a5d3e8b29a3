import type { Lsn } from '#core/lsn.ts';
import { comparePositions, type Position } from '#core/position.ts';
import { compareLetters, type WaitingLetter } from '#core/waiting-letter.ts';

/**
 * The dead letters of an output that wait, and what waits at them. Changes count at once, and are taken back with `undo` where their epoch is
 * given up; `takeChanges` gives what is to be written with it (invariant 2).
 */
export class HeldLetters {
  readonly #letters = new Map<string, WaitingLetter>();
  /** By slot: the letters that hold it, the oldest first. */
  readonly #bySlot = new Map<string, Set<string>>();
  readonly #byCommit = new Map<Lsn, Set<string>>();
  readonly #byTopic = new Map<string, number>();
  /** What stood there before, by id: null for nothing. */
  readonly #before = new Map<string, WaitingLetter | null>();

  constructor(letters: Iterable<WaitingLetter> = []) {
    for (const letter of letters) this.#put(letter);
  }

  get size(): number {
    return this.#letters.size;
  }

  /** Rows at which later changes wait, at most. */
  get keys(): number {
    return Math.min(this.#bySlot.size, this.#letters.size);
  }

  get(id: string): WaitingLetter | undefined {
    return this.#letters.get(id);
  }

  /** Oldest first. */
  all(): WaitingLetter[] {
    return [...this.#letters.values()].toSorted(compareLetters);
  }

  isAnyOf(topic: string): boolean {
    return (this.#byTopic.get(topic) ?? 0) > 0;
  }

  /** The letter that one of the slots waits at. */
  holderOf(slots: readonly string[]): string | null {
    return this.holdersOf(slots, new Set())[0] ?? null;
  }

  holdersOf(slots: readonly string[], except: ReadonlySet<string>): string[] {
    return slots.flatMap((slot) => [...(this.#bySlot.get(slot) ?? [])].filter((id) => !except.has(id)));
  }

  /** The letters of one source transaction. */
  ofCommit(commit: Lsn): WaitingLetter[] {
    return [...(this.#byCommit.get(commit) ?? [])].flatMap((id) => this.#letters.get(id) ?? []);
  }

  /** Of a topic, from before a position where one is given. */
  ofTopic(topic: string, before: Position | null): WaitingLetter[] {
    if (!this.isAnyOf(topic)) return [];
    return [...this.#letters.values()].filter(
      (letter) =>
        letter.topic === topic &&
        (before === null || letter.position === null || comparePositions(letter.position, before) < 0),
    );
  }

  add(letter: WaitingLetter): void {
    this.#remember(letter.id);
    this.#drop(letter.id);
    this.#put(letter);
  }

  remove(id: string): void {
    this.#remember(id);
    this.#drop(id);
  }

  undo(): void {
    for (const [id, letter] of this.#before) {
      this.#drop(id);
      if (letter !== null) this.#put(letter);
    }
    this.#before.clear();
  }

  /** By id what is to be written: null where a letter waits no longer. */
  takeChanges(): Map<string, WaitingLetter | null> {
    const changes = new Map<string, WaitingLetter | null>();
    for (const [id, before] of this.#before) {
      const now = this.#letters.get(id) ?? null;
      if (now !== before) changes.set(id, now);
    }
    this.#before.clear();
    return changes;
  }

  #remember(id: string): void {
    if (!this.#before.has(id)) this.#before.set(id, this.#letters.get(id) ?? null);
  }

  #put(letter: WaitingLetter): void {
    const { id, slots, position, topic } = letter;
    this.#letters.set(id, letter);
    for (const slot of slots) join(this.#bySlot, slot, id);
    if (position !== null) join(this.#byCommit, position.commit, id);
    this.#byTopic.set(topic, (this.#byTopic.get(topic) ?? 0) + 1);
  }

  #drop(id: string): void {
    const letter = this.#letters.get(id);
    if (letter === undefined) return;
    this.#letters.delete(id);
    for (const slot of letter.slots) leave(this.#bySlot, slot, id);
    if (letter.position !== null) leave(this.#byCommit, letter.position.commit, id);
    this.#byTopic.set(letter.topic, (this.#byTopic.get(letter.topic) ?? 1) - 1);
  }
}

function join<K>(sets: Map<K, Set<string>>, key: K, id: string): void {
  const known = sets.get(key);
  if (known === undefined) sets.set(key, new Set([id]));
  else known.add(id);
}

function leave<K>(sets: Map<K, Set<string>>, key: K, id: string): void {
  const known = sets.get(key);
  known?.delete(id);
  if (known?.size === 0) sets.delete(key);
}
