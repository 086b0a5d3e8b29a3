import { nameOfWorkers, SERVER_NAMES } from './worker-servers.ts';

// Two files at a time share no server: roles, slots and open transactions are a whole cluster's.
for (const name of SERVER_NAMES) {
  const own = process.env[nameOfWorkers(name, process.env['VITEST_POOL_ID'] ?? '1')];
  if (own !== undefined) process.env[name] = own;
}
