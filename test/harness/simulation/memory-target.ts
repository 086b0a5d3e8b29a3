import { tick, type Choices } from './choices.ts';
import { Death } from './memory-kafka.ts';
import { copyStore, emptyStore, type TargetStore } from './target-store.ts';

/** The server's word to a client, by its SQLSTATE (PostgreSQL: "Error Codes", appendix A). */
export class ServerError extends Error {
  override readonly name = 'ServerError';
  readonly code: string;

  constructor(code: string) {
    super(`SQLSTATE ${code}`);
    this.code = code;
  }
}

const TERMINATED = '57P01';
const DEADLOCK = '40P01';

/** How often each thing happened, so that a run can show that it did. */
export class Tally {
  readonly counts = new Map<string, number>();

  add(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }
}

/** One life of a sink as its target meets it: it may die or hang at every step, and the target may fail it. */
export class TargetLife {
  readonly #fates: Choices;
  readonly #tally: Tally;
  readonly #onEnd: (life: TargetLife) => void;
  #isDead = false;
  #whenReleased: Promise<void> | null = null;
  #release: () => void = () => undefined;
  readonly hung: Promise<void>;
  #onHung: () => void = () => undefined;

  constructor(fates: Choices, tally: Tally, onEnd: (life: TargetLife) => void) {
    this.#fates = fates;
    this.#tally = tally;
    this.#onEnd = onEnd;
    this.hung = new Promise((resolve) => (this.#onHung = resolve));
  }

  /** Before a step: it may be the last one. */
  async step(name: string): Promise<void> {
    this.here(name);
    const fate = this.#fates.of(5);
    if (fate === 1) this.die(`before ${name}`);
    if (fate === 2 && this.#whenReleased === null) {
      this.#tally.add('hangs');
      this.#whenReleased = new Promise((resolve) => (this.#release = resolve));
      this.#onHung();
      await this.#whenReleased;
      this.here(name);
    }
    if (fate === 3) {
      this.#tally.add('errors of the target');
      throw new ServerError(DEADLOCK);
    }
    if (fate === 4) await tick();
  }

  /** After a step that cannot be taken back: its answer may be lost. */
  answer(name: string): void {
    this.here(name);
    const fate = this.#fates.of(3);
    if (fate === 1) this.die(`after ${name}`);
    if (fate === 2) {
      this.#tally.add('lost answers');
      throw new ServerError('08006');
    }
  }

  /** At a failpoint of production. */
  pass(name: string): void {
    this.here(name);
    if (this.#fates.of(2) === 1) this.die(`at ${name}`);
  }

  here(name: string): void {
    if (this.#isDead) throw new Death(name);
  }

  /** What it hung in goes on. */
  release(): void {
    this.#release();
  }

  die(where: string): never {
    this.#isDead = true;
    this.#tally.add('deaths');
    this.#onEnd(this);
    throw new Death(where);
  }
}

type Change<T> = (store: TargetStore) => T;

interface OpenTransaction {
  store: TargetStore;
  changes: Change<unknown>[];
  readonly lock: 'UPDATE' | 'SHARE';
}

/** A target in memory: transactions that are seen at once or not at all, and a lock on the position. */
export class MemoryTarget {
  #store: TargetStore = emptyStore();
  readonly #connections = new Set<Connection>();
  readonly #onCommit: (store: TargetStore, before: TargetStore) => void;
  #wake: (() => void)[] = [];

  /** `onCommit` sees every state that a reader could. */
  constructor(onCommit: (store: TargetStore, before: TargetStore) => void) {
    this.#onCommit = onCommit;
  }

  get store(): TargetStore {
    return this.#store;
  }

  /** `name`: a successor of its session ends those of the same name. */
  connect(life: TargetLife, name = ''): Connection {
    const connection = new Connection(this, life, name);
    this.#connections.add(connection);
    return connection;
  }

  /** As a server ends the sessions of a process that is gone, or those that somebody asks it to. */
  end(isMeant: (connection: Connection) => boolean): number {
    const ended = [...this.#connections].filter(isMeant);
    for (const connection of ended) {
      this.#connections.delete(connection);
      connection.terminate();
    }
    this.#notify();
    return ended.length;
  }

  /** Once nobody else holds a lock that is in the way; `act` happens before anybody else can take one. */
  async whenFree<T>(own: Connection, lock: 'UPDATE' | 'SHARE', act: () => T): Promise<T> {
    const isInTheWay = (other: Connection): boolean =>
      other !== own && other.lock !== null && (lock === 'UPDATE' || other.lock === 'UPDATE');
    while ([...this.#connections].some(isInTheWay)) {
      await new Promise<void>((resolve) => this.#wake.push(resolve));
      own.requireOpen();
    }
    return act();
  }

  commit(changes: readonly Change<unknown>[]): void {
    const before = this.#store;
    const after = copyStore(before);
    for (const change of changes) change(after);
    this.#store = after;
    this.#onCommit(after, before);
    this.#notify();
  }

  released(): void {
    this.#notify();
  }

  #notify(): void {
    const woken = this.#wake;
    this.#wake = [];
    for (const wake of woken) wake();
  }
}

/** A session's transaction, if one is open; else each change is one by itself. */
export class Connection {
  readonly #target: MemoryTarget;
  readonly life: TargetLife;
  readonly name: string;
  #open: OpenTransaction | null = null;
  #isTerminated = false;

  constructor(target: MemoryTarget, life: TargetLife, name: string) {
    this.#target = target;
    this.life = life;
    this.name = name;
  }

  get lock(): 'UPDATE' | 'SHARE' | null {
    return this.#open?.lock ?? null;
  }

  requireOpen(): void {
    this.life.here('a session');
    if (this.#isTerminated) throw new ServerError(TERMINATED);
  }

  terminate(): void {
    this.#isTerminated = true;
    this.#open = null;
  }

  endOthers(): number {
    return this.#target.end((connection) => connection !== this && connection.name === this.name);
  }

  close(): void {
    this.#target.end((connection) => connection === this);
  }

  async begin(lock: 'UPDATE' | 'SHARE'): Promise<void> {
    await this.#step('begin');
    this.requireOpen();
    await this.#target.whenFree(this, lock, () => {
      this.#open = { store: copyStore(this.#target.store), changes: [], lock };
    });
  }

  /** Waits for the position, and changes it at once. */
  async take<T>(change: Change<T>): Promise<T> {
    await this.#step('take');
    this.requireOpen();
    return this.#target.whenFree(this, 'UPDATE', () => this.#alone('take', change));
  }

  async commit(): Promise<void> {
    await this.#step('commit');
    this.requireOpen();
    const changes = this.#open?.changes ?? [];
    this.#open = null;
    this.#target.commit(changes);
    this.life.answer('commit');
  }

  async rollback(): Promise<void> {
    await this.#step('rollback');
    this.requireOpen();
    this.#open = null;
    this.#target.released();
  }

  async attempt(work: () => Promise<void>): Promise<void> {
    await this.#step('savepoint');
    this.requireOpen();
    const open = this.#open;
    if (open === null) throw new Error('there is no transaction');
    const [store, changes] = [copyStore(open.store), [...open.changes]];
    try {
      await work();
    } catch (error) {
      open.store = store;
      open.changes = changes;
      throw error;
    }
  }

  async change<T>(name: string, change: Change<T>): Promise<T> {
    await this.#step(name);
    this.requireOpen();
    if (this.#open === null) return this.#alone(name, change);
    const result = change(this.#open.store);
    this.#open.changes.push(change);
    return result;
  }

  async read<T>(name: string, read: (store: TargetStore) => T): Promise<T> {
    await this.#step(name);
    this.requireOpen();
    return read(this.#open?.store ?? this.#target.store);
  }

  #alone<T>(name: string, change: Change<T>): T {
    let result: { readonly value: T } | null = null;
    this.#target.commit([(store) => (result = { value: change(store) })]);
    this.life.answer(name);
    return (result as unknown as { readonly value: T }).value;
  }

  async #step(name: string): Promise<void> {
    this.requireOpen();
    await this.life.step(name);
  }
}
