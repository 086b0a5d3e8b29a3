import { Infrastructure } from '#infra/infrastructure.ts';
import { exitOnSignals } from '#infra/processes.ts';
import { buildProgram } from './build-program.ts';
import { nameOfWorkers, SERVER_NAMES, SETS } from './worker-servers.ts';

/**
 * The program built, and for each worker one Kafka and two PostgreSQL servers for the whole run, their addresses in the environment. Addresses
 * that are set already are used instead, by every worker.
 */
export default async function setUp({
  config,
}: {
  config: { maxWorkers: number | string };
}): Promise<() => Promise<void>> {
  await buildProgram();
  if (SERVER_NAMES.every((name) => (process.env[name] ?? '') !== '')) return async () => undefined;
  exitOnSignals();
  const sets: Infrastructure[] = [];
  for (let worker = 1; worker <= Number(config.maxWorkers); worker += 1) sets.push(await open(worker));
  await Promise.all(sets.map((servers, index) => startFor(servers, index + 1)));
  process.env[SETS] = sets.map((_, index) => `restage-test-${process.pid}-${index + 1}`).join(' ');
  return async () => {
    for (const servers of sets) await servers.stop();
  };
}

/** What serves the first one is said once. */
function open(worker: number): Promise<Infrastructure> {
  const say = (line: string): void => void (worker === 1 && process.stderr.write(`${line}\n`));
  return Infrastructure.open({ say, durable: false });
}

async function startFor(infrastructure: Infrastructure, worker: number): Promise<void> {
  const [kafka, pg15, pg18] = await Promise.all([
    infrastructure.startKafka(),
    infrastructure.startPostgres({ name: 'pg15', from: 'machine', major: 15 }),
    infrastructure.startPostgres({ name: 'pg18', from: 'embedded' }),
  ]);
  process.env[nameOfWorkers('RESTAGE_TEST_KAFKA', worker)] = kafka.brokers;
  process.env[nameOfWorkers('RESTAGE_TEST_PG15', worker)] = pg15.url;
  process.env[nameOfWorkers('RESTAGE_TEST_PG18', worker)] = pg18.url;
  process.env['RESTAGE_TEST_PG15_BIN'] = pg15.binDir ?? '';
}
