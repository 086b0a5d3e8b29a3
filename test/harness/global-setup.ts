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
  for (let worker = 1; worker <= Number(config.maxWorkers); worker += 1) sets.push(await startFor(worker));
  process.env[SETS] = sets.map((_, index) => `restage-test-${process.pid}-${index + 1}`).join(' ');
  return async () => {
    for (const servers of sets) await servers.stop();
  };
}

async function startFor(worker: number): Promise<Infrastructure> {
  const infrastructure = await Infrastructure.open({
    say: (line) => process.stderr.write(`${line}\n`),
    durable: false,
  });
  const [kafka, pg15, pg18] = await Promise.all([
    infrastructure.startKafka(),
    infrastructure.startPostgres({ name: 'pg15', from: 'machine', major: 15 }),
    infrastructure.startPostgres({ name: 'pg18', from: 'embedded' }),
  ]);
  process.env[nameOfWorkers('RESTAGE_TEST_KAFKA', worker)] = kafka.brokers;
  process.env[nameOfWorkers('RESTAGE_TEST_PG15', worker)] = pg15.url;
  process.env[nameOfWorkers('RESTAGE_TEST_PG18', worker)] = pg18.url;
  process.env['RESTAGE_TEST_PG15_BIN'] = pg15.binDir ?? '';
  return infrastructure;
}
