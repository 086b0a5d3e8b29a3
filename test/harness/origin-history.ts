import type { TableStructure } from '#core/structure.ts';
import type { MemoryTopics, TestChange } from './memory-topics.ts';

/** LSN of the load's snapshot. */
export const SNAPSHOT = 100;

/** Tables with triggers, rules and foreign keys. */
export const TABLES_SQL = `
  CREATE TABLE public.parent (id int PRIMARY KEY, place int UNIQUE);
  CREATE TABLE public.child (id int PRIMARY KEY, parent int CONSTRAINT child_key REFERENCES public.parent);
  CREATE TABLE public.tree (id int PRIMARY KEY, up int CONSTRAINT tree_key REFERENCES public.tree DEFERRABLE);
  CREATE TABLE public.days (id int, day date, parent int CONSTRAINT days_key REFERENCES public.parent, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
  CREATE TABLE public.days_2020 PARTITION OF public.days FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
  CREATE TABLE public.fired (what text);
  CREATE FUNCTION public.fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.fired VALUES (TG_NAME); RETURN NULL; END $$;
  CREATE TRIGGER plain AFTER INSERT OR UPDATE OR DELETE ON public.child FOR EACH ROW EXECUTE FUNCTION public.fire();
  CREATE TRIGGER whole AFTER INSERT OR TRUNCATE ON public.tree FOR EACH STATEMENT EXECUTE FUNCTION public.fire();
  CREATE TRIGGER always AFTER INSERT ON public.parent FOR EACH ROW EXECUTE FUNCTION public.fire();
  CREATE TRIGGER replica AFTER INSERT ON public.parent FOR EACH ROW EXECUTE FUNCTION public.fire();
  CREATE TRIGGER never AFTER INSERT ON public.parent FOR EACH ROW EXECUTE FUNCTION public.fire();
  CREATE TRIGGER parted AFTER INSERT ON public.days FOR EACH ROW EXECUTE FUNCTION public.fire();
  CREATE CONSTRAINT TRIGGER late AFTER INSERT ON public.child DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.fire();
  ALTER TABLE public.parent ENABLE ALWAYS TRIGGER always, ENABLE REPLICA TRIGGER replica, DISABLE TRIGGER never;
  CREATE RULE twice AS ON INSERT TO public.parent DO ALSO INSERT INTO public.fired VALUES ('rule');
`;

export type OriginTables = Record<'parent' | 'child' | 'tree' | 'days_2020', TableStructure>;

/** Children come before their parents, and a tree's rows before what they hang on. */
export function writeLoad(
  topics: MemoryTopics,
  { parent, child, tree, days_2020: days }: OriginTables,
  { isWhole = true } = {},
): void {
  topics.plan(1, [child, tree, days, parent]);
  if (isWhole) {
    topics.chunk(1, child, 0, [
      { id: 1, parent: 1 },
      { id: 2, parent: 2 },
      { id: 3, parent: 3 },
    ]);
    topics.chunk(1, tree, 0, [{ id: 9, up: 1 }]);
    topics.chunk(1, tree, 1, [{ id: 1, up: null }]);
    topics.chunk(1, days, 0, [{ id: 1, day: '2020-05-05', parent: 3 }]);
  }
  topics.chunk(1, parent, 0, [
    { id: 1, place: 1 },
    { id: 2, place: 2 },
    { id: 3, place: 3 },
  ]);
  if (!isWhole) return;
  for (const structure of [child, tree, days, parent]) topics.tableEnd(1, structure, SNAPSHOT);
  topics.end(1);
  topics.empty(SNAPSHOT + 1);
}

/** One epoch of transactions that no single order of the tables meets, and one that an order meets. */
export function writeStream(topics: MemoryTopics, { parent, child, tree, days_2020: days }: OriginTables): void {
  const change = (
    structure: TableStructure,
    commit: number,
    op: TestChange['op'],
    image: NonNullable<TestChange['after']>,
  ): TestChange => ({ structure, commit, op, ...(op === 'd' ? { before: image } : { after: image }) });
  topics.stream([
    change(child, 110, 'c', { id: 4, parent: 4 }),
    change(parent, 110, 'c', { id: 4, place: 4 }),
    change(tree, 110, 'c', { id: 21, up: 22 }),
    change(tree, 110, 'c', { id: 22, up: 9 }),
  ]);
  topics.stream([
    change(child, 119, 'd', { id: 4 }),
    // A cascade of the source: the parent goes first.
    change(parent, 120, 'd', { id: 1 }),
    change(child, 120, 'd', { id: 1 }),
    // Led to another parent, then the first one goes.
    change(child, 121, 'u', { id: 2, parent: 4 }),
    change(parent, 121, 'd', { id: 2 }),
    // Its unique value is given to another.
    change(parent, 122, 'c', { id: 5, place: 2 }),
    change(days, 122, 'u', { id: 1, day: '2020-05-05', parent: 5 }),
    // The same key goes and comes again.
    change(child, 123, 'u', { id: 2, parent: 5 }),
    change(parent, 123, 'd', { id: 4 }),
    change(parent, 123, 'c', { id: 4, place: 44 }),
    change(child, 123, 'u', { id: 2, parent: 4 }),
  ]);
}

/** The table that others refer to is emptied under them: its keys are away until its rows are back. */
export function writeLateLoad(topics: MemoryTopics, { parent, child }: OriginTables): void {
  topics.announce(2, [parent]);
  topics.stream([
    { structure: parent, commit: 130, op: 'c', after: { id: 6, place: 6 } },
    { structure: child, commit: 130, op: 'c', after: { id: 6, parent: 6 } },
  ]);
  topics.plan(3, [parent]);
  topics.chunk(3, parent, 0, [
    { id: 4, place: 44 },
    { id: 5, place: 2 },
  ]);
  topics.chunk(3, parent, 1, [
    { id: 3, place: 33 },
    { id: 6, place: 6 },
  ]);
  topics.tableEnd(3, parent, 140);
  topics.end(3);
  topics.stream([
    { structure: parent, commit: 135, op: 'u', after: { id: 3, place: 33 } },
    { structure: child, commit: 141, op: 'u', after: { id: 2, parent: 3 } },
  ]);
}
