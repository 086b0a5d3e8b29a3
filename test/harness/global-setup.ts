import { Infrastructure } from '#infra/infrastructure.ts';
import { exitOnSignals } from '#infra/processes.ts';
import { buildProgram } from './build-program.ts';

const GIVEN = ['RESTAGE_TEST_KAFKA', 'RESTAGE_TEST_PG15', 'RESTAGE_TEST_PG18'] as const;

/**
 * The program built, and one Kafka and two PostgreSQL servers for the whole run, their addresses in the environment of every test. Addresses
 * that are set already are used instead.
 */
export default async function setUp(): Promise<() => Promise<void>> {
  await buildProgram();
  if (GIVEN.every((name) => (process.env[name] ?? '') !== '')) return async () => undefined;
  exitOnSignals();
  const infrastructure = await Infrastructure.open({
    say: (line) => process.stderr.write(`${line}\n`),
    durable: false,
  });
  const [kafka, pg15, pg18] = await Promise.all([
    infrastructure.startKafka(),
    infrastructure.startPostgres({ name: 'pg15', from: 'machine', major: 15 }),
    infrastructure.startPostgres({ name: 'pg18', from: 'embedded' }),
  ]);
  process.env['RESTAGE_TEST_KAFKA'] = kafka.brokers;
  process.env['RESTAGE_TEST_PG15'] = pg15.url;
  process.env['RESTAGE_TEST_PG15_BIN'] = pg15.binDir ?? '';
  process.env['RESTAGE_TEST_PG18'] = pg18.url;
  return async () => infrastructure.stop();
}
