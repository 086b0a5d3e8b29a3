import { LSN_ZERO, parseLsn, type Lsn } from '#core/lsn.ts';
import type { StoredManifest } from '#core/manifest.ts';
import { comparePositions, type Position } from '#core/position.ts';
import { readStreamHeaders } from '#core/record.ts';
import { schemasTopic } from '#core/topic-names.ts';
import type { MemoryKafka } from './memory-kafka.ts';
import { RELATIONS, type MemoryWal, type WalEvent } from './memory-wal.ts';
import { SHAPED } from './transformer-life.ts';
import { RAW, TABLES } from './tables.ts';

/** What a reader of manifests finds, and what is wrong with it. */
export function faultsOf(kafka: MemoryKafka, wal: MemoryWal): string[] {
  const raw = kafka.manifests(RAW);
  const shaped = kafka.manifests(SHAPED);
  const snapshots = snapshotsOf(raw);
  const origin = parseLsn(raw.find(({ manifest }) => manifest.kind === 'origin')?.manifest.snapshot ?? '0/0');
  const through = parseLsn(raw.at(-1)?.manifest.through ?? '0/0');
  const expected = wal.events(origin, through);
  const afterSnapshots = expected.filter((event) => commitOf(event) >= (snapshots.get(relationOf(event)) ?? LSN_ZERO));
  return [
    ...compare('raw stream', streamOf(kafka, RAW, raw), expected),
    ...compare('shaped stream', streamOf(kafka, SHAPED, shaped), afterSnapshots),
    ...[...snapshots].flatMap(([relation, lsn]) => {
      const rows = [...wal.rowsAt(lsn, relation)].map(([id, value]) => `${id} ${value}`).toSorted();
      return [RAW, SHAPED].flatMap((prefix) =>
        compare(`${prefix} rows of ${relation}`, loadedRows(kafka, prefix, relation), rows),
      );
    }),
    ...orderFaults(raw),
    ...orderFaults(shaped),
    ...passedOnFaults(raw, shaped),
  ];
}

/** Each relation's snapshot, by its last tableEnd. */
function snapshotsOf(manifests: readonly StoredManifest[]): Map<number, Lsn> {
  const ends = manifests.filter(({ manifest }) => manifest.kind === 'tableEnd');
  return new Map(
    ends.map(({ manifest }) => [
      RELATIONS[TABLES.findIndex(({ topic }) => topic === manifest.table?.topic)] ?? 0,
      parseLsn(manifest.snapshot ?? '0/0'),
    ]),
  );
}

/** The stream's records in the order of manifests and, inside one, of positions. */
function streamOf(kafka: MemoryKafka, prefix: string, manifests: readonly StoredManifest[]): WalEvent[] {
  return manifests
    .filter(({ manifest }) => manifest.kind === 'stream')
    .flatMap(({ manifest }) => {
      const found: { readonly position: Position; readonly text: WalEvent }[] = [];
      for (const range of manifest.ranges) {
        if (range.topic === schemasTopic(prefix)) continue;
        for (const record of kafka.records(range)) {
          const position = readStreamHeaders(record)?.position;
          if (position === undefined) continue;
          const op = record.value === null ? '' : (JSON.parse(String(record.value)) as { op: string }).op;
          found.push({
            position,
            text: `${position.commit}:${position.ordinal} ${relationBy(prefix, range.topic)} ${op}`,
          });
        }
      }
      return found.toSorted((a, b) => comparePositions(a.position, b.position)).map(({ text }) => text);
    });
}

/** Rows of a relation's last load, in no order. */
function loadedRows(kafka: MemoryKafka, prefix: string, relation: number): string[] {
  const chunks = kafka
    .manifests(prefix)
    .filter(
      ({ manifest }) => manifest.kind === 'chunk' && relationBy(prefix, manifest.table?.topic ?? '') === relation,
    );
  const last = Math.max(0, ...chunks.map(({ manifest }) => manifest.load));
  return chunks
    .filter(({ manifest }) => manifest.load === last)
    .flatMap(({ manifest }) => manifest.ranges.filter(({ topic }) => topic !== schemasTopic(prefix)))
    .flatMap((range) => kafka.records(range))
    .map(({ value }) => {
      const { after } = JSON.parse(String(value)) as { after: { id: number; v?: string; value?: string } };
      return `${after.id} ${after.v ?? after.value}`;
    })
    .toSorted();
}

/** Parts follow one another without anything between, epochs count up, `through` never goes back. */
function orderFaults(manifests: readonly StoredManifest[]): string[] {
  const open = manifests.findLast(({ manifest }) => manifest.kind === 'stream')?.manifest.last === false;
  const faults = manifests.flatMap(({ manifest }, index) => {
    const before = manifests[index - 1]?.manifest;
    if (before === undefined) return [];
    const found: string[] = [];
    if (parseLsn(manifest.through) < parseLsn(before.through)) found.push(`${manifest.kind}: through goes back`);
    if (before.kind === 'stream' && !before.last) {
      const isNext = manifest.kind === 'stream' && manifest.epoch === before.epoch && manifest.part === before.part + 1;
      if (!isNext) found.push(`epoch ${before.epoch}: part ${before.part} is followed by ${manifest.kind}`);
    } else if (manifest.kind === 'stream' && (manifest.part !== 1 || manifest.epoch <= before.epoch))
      found.push(`epoch ${manifest.epoch} begins with part ${manifest.part} after epoch ${before.epoch}`);
    return found;
  });
  return open ? [...faults, 'the last epoch is left open'] : faults;
}

/** Each raw manifest from the first plan on gives exactly one shaped one; chunks first, then the stream. */
function passedOnFaults(raw: readonly StoredManifest[], shaped: readonly StoredManifest[]): string[] {
  const plan = raw.findIndex(({ manifest }) => manifest.kind === 'plan');
  const end = raw.findIndex(({ manifest }) => manifest.kind === 'end');
  if (plan < 0 || end < 0) return ['the load never ended'];
  const isStream = ({ manifest }: StoredManifest): boolean => manifest.kind === 'stream' || manifest.kind === 'empty';
  const chunks = raw.slice(plan, end + 1).filter((stored) => !isStream(stored));
  const expected = [...chunks, ...raw.slice(plan).filter(isStream)].map(({ offset }) => String(offset));
  return compare(
    'manifests passed on',
    shaped.map(({ manifest }) => manifest.raw?.offset ?? ''),
    expected,
  );
}

function compare(what: string, found: readonly string[], expected: readonly string[]): string[] {
  const at = Array.from({ length: Math.max(found.length, expected.length) }).findIndex(
    (_, index) => found[index] !== expected[index],
  );
  return at < 0 ? [] : [`${what}: ${found[at] ?? 'nothing'} instead of ${expected[at] ?? 'nothing'} at ${at}`];
}

function relationBy(prefix: string, topic: string): number {
  const names =
    prefix === RAW ? TABLES.map((table) => table.topic) : [`${SHAPED}.public.renamed`, `${SHAPED}.public.t1`];
  return RELATIONS[names.indexOf(topic)] ?? 0;
}

function commitOf(event: WalEvent): Lsn {
  return BigInt(event.slice(0, event.indexOf(':'))) as Lsn;
}

function relationOf(event: WalEvent): number {
  return Number(event.split(' ')[1]);
}
