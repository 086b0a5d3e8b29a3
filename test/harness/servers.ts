/** Bootstrap brokers of the run's Kafka. */
export function testKafka(): string {
  return given('RESTAGE_TEST_KAFKA');
}

/** A superuser's URL of the run's PostgreSQL 15 or 18. */
export function testPostgres(version: 15 | 18): string {
  return given(`RESTAGE_TEST_PG${version}`);
}

/** The folder with PostgreSQL 15's pg_dump, pg_restore and pgbench. */
export function postgresBin(): string {
  return given('RESTAGE_TEST_PG15_BIN');
}

function given(name: string): string {
  const value = process.env[name] ?? '';
  if (value === '') throw new Error(`${name} is not set: test/harness/global-setup.ts sets it in the project "system"`);
  return value;
}
