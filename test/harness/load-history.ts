import type { Manifest } from '#core/manifest.ts';
import { readTopics } from './topic-records.ts';

export interface LoadHistory {
  /** Tables of each plan, in the order of the plans. */
  readonly plans: readonly (readonly string[])[];
  /** `table chunk part`, in the order of `.epochs`, with the number of its rows. */
  readonly parts: readonly {
    readonly at: string;
    readonly load: number;
    readonly rows: number;
    readonly last: boolean;
  }[];
  /** Keys of the rows of the load that a read_committed reader gets, in their order, by table. */
  readonly keys: ReadonlyMap<string, readonly string[]>;
}

/** What another Kafka client reads of a load that is done: its manifests, and every row that they name. */
export async function readLoad(name: string, tables: readonly string[]): Promise<LoadHistory> {
  const topics = tables.map((table) => `${name}.public.${table}`);
  let wanted = Number.POSITIVE_INFINITY;
  let sum = 0;
  let seen = 0;
  const records = await readTopics([`${name}.epochs`, ...topics], (_all, { topic, value, headers }) => {
    if (topic !== `${name}.epochs`) seen += headers.has('chunk') ? 1 : 0;
    else {
      const { kind, rows = 0 } = parse(value);
      if (kind === 'chunk') sum += rows;
      if (kind === 'end') wanted = sum;
    }
    return seen >= wanted;
  });
  const manifests = records.filter(({ topic }) => topic === `${name}.epochs`).map(({ value }) => parse(value));
  const rows = records.filter(({ topic, headers }) => topic !== `${name}.epochs` && headers.has('chunk'));
  const keysOf = (topic: string): string[] =>
    rows.filter((row) => row.topic === topic).map(({ key }) => key?.toString() ?? '');
  return {
    plans: manifests.flatMap(({ kind, tables: planned }) =>
      kind === 'plan' ? [(planned ?? []).map(({ table }) => table)] : [],
    ),
    parts: manifests.flatMap(({ kind, table, chunk, part, load, rows: count = 0, last }) =>
      kind === 'chunk' ? [{ at: `${table?.table} ${chunk} ${part}`, load, rows: count, last }] : [],
    ),
    keys: new Map(tables.map((table) => [table, keysOf(`${name}.public.${table}`)])),
  };
}

function parse(value: Buffer | null): Manifest {
  return JSON.parse(value?.toString() ?? 'null') as Manifest;
}
