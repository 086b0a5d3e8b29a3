import { Counter, Gauge, Registry } from 'prom-client';
import { SERVICE_STATES, type ServiceStatus } from '#core/status.ts';

const LABELS = ['service', 'instance'] as const;
type StatusNumber = (status: ServiceStatus) => number;

/** Name, meaning with its unit, value. All are read from the status at the moment of a scrape. */
const GAUGES: readonly (readonly [string, string, StatusNumber])[] = [
  [
    'restage_lag_bytes',
    'WAL bytes: of the source not yet confirmed (producer), of Kafka not yet passed (others)',
    (status) => status.lagBytes,
  ],
  [
    'restage_lag_events',
    'Records in Kafka that manifests name and that are not yet consumed',
    (status) => status.lagEvents,
  ],
  [
    'restage_lag_seconds',
    'Age of the oldest transaction that waits, else of the last one when it was reached',
    (status) => status.lagSeconds,
  ],
  ['restage_epoch', 'Number of the last epoch', (status) => status.epoch],
  ['restage_last_epoch_events', 'Events of the last epoch', (status) => status.lastEpochEvents],
  ['restage_last_epoch_bytes', 'Bytes of the last epoch', (status) => status.lastEpochBytes],
  [
    'restage_last_epoch_seconds',
    'Seconds the last epoch took to be written or applied',
    (status) => status.lastEpochSeconds,
  ],
  ['restage_slot_retained_wal_bytes', 'WAL bytes that the slot keeps (producer)', (status) => status.retainedWalBytes],
  ['restage_wal_budget_bytes', 'WAL bytes that the slot may keep (producer)', (status) => status.wal?.budgetBytes ?? 0],
  [
    'restage_wal_safe_bytes',
    'WAL bytes until the server gives the slot up; -1 without a limit (producer)',
    (status) => status.wal?.safeBytes ?? -1,
  ],
  [
    'restage_wal_written_bytes_per_second',
    'WAL that the source writes, over the last minute (producer)',
    (status) => status.wal?.bytesPerSecond ?? 0,
  ],
  [
    'restage_wal_seconds_until_full',
    'Until budget or server limit is used up if nothing more were confirmed; -1 while nothing is written (producer)',
    (status) => status.wal?.secondsUntilFull ?? -1,
  ],
  [
    'restage_wal_alarm',
    '1 when the slot keeps more than its budget, or the server may give it up (producer)',
    (status) => (status.wal === null || status.wal.state === 'within' ? 0 : 1),
  ],
  ['restage_load_tables', 'Tables of the initial load', (status) => status.load.tables],
  ['restage_load_tables_done', 'Tables loaded', (status) => status.load.tablesDone],
  ['restage_load_chunks', 'Chunks of the initial load', (status) => status.load.chunks],
  ['restage_load_chunks_done', 'Chunks loaded', (status) => status.load.chunksDone],
  ['restage_load_rows', 'Rows loaded', (status) => status.load.rows],
  [
    'restage_dead_letters',
    'Dead letters that wait in the target (sink), or were made since the process started (transformer)',
    (status) => status.deadLetters,
  ],
  ['restage_held_keys', 'Rows of the target at which later changes wait', (status) => status.heldKeys],
  ['restage_load_done', '1 when the initial load is done', (status) => (status.load.isDone ? 1 : 0)],
];

/** A registry of its own for each server, so that two servers in one process never share a number. */
export function makeMetrics(statuses: readonly ServiceStatus[]): Registry {
  const registry = new Registry();
  const registers = [registry];
  for (const [name, help, read] of GAUGES) {
    new Gauge({
      name,
      help,
      registers,
      labelNames: LABELS,
      collect() {
        for (const status of statuses) this.set(labelsOf(status), read(status));
      },
    });
  }
  new Gauge({
    name: 'restage_state',
    help: '1 for the state the service is in, 0 for the others',
    registers,
    labelNames: [...LABELS, 'state'],
    collect() {
      for (const status of statuses) {
        for (const state of SERVICE_STATES) this.set({ ...labelsOf(status), state }, status.state === state ? 1 : 0);
      }
    },
  });
  addCounters(registers, statuses);
  addMemory(registers);
  return registry;
}

function addCounters(registers: Registry[], statuses: readonly ServiceStatus[]): void {
  new Counter({
    name: 'restage_events_total',
    help: 'Events written or applied since the process started',
    registers,
    labelNames: [...LABELS, 'operation'],
    collect() {
      this.reset();
      for (const status of statuses) {
        for (const [operation, count] of Object.entries(status.events))
          this.inc({ ...labelsOf(status), operation }, count);
      }
    },
  });
  new Counter({
    name: 'restage_epochs_total',
    help: 'Epochs written or applied since the process started',
    registers,
    labelNames: LABELS,
    collect() {
      this.reset();
      for (const status of statuses) this.inc(labelsOf(status), status.epochs);
    },
  });
}

function addMemory(registers: Registry[]): void {
  new Gauge({
    name: 'restage_process_memory_bytes',
    help: 'Memory of this process by area',
    registers,
    labelNames: ['area'],
    collect() {
      const { rss, heapUsed, external } = process.memoryUsage();
      this.set({ area: 'resident' }, rss);
      this.set({ area: 'heap' }, heapUsed);
      this.set({ area: 'external' }, external);
    },
  });
}

function labelsOf(status: ServiceStatus): { service: string; instance: string } {
  return { service: status.service, instance: status.instance };
}
