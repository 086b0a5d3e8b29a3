import { mkdir, readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import * as z from 'zod';
import { RestageError } from '#core/errors.ts';
import { dataFolder } from '#infra/data-folder.ts';
import { Infrastructure } from '#infra/infrastructure.ts';
import { isRunning, type ProcessIdentity } from '#infra/process-identity.ts';
import { ServerProcesses } from '#infra/processes.ts';
import { projectRoot } from '#infra/project-root.ts';
import type { Say } from '#infra/providers/provider.ts';

const identity = z.object({ pid: z.number(), started: z.string() });
const stateSchema = z.object({
  addresses: z.object({ kafka: z.string(), registry: z.string().nullable(), postgres: z.array(z.string()) }),
  servers: z.array(identity),
});
const recordSchema = z.object({ name: z.string(), server: identity, owner: z.null() });

/** What `dev up` started, kept in `dev.json` for `dev down`. */
export type DevState = z.infer<typeof stateSchema>;

export interface DevOptions {
  /** Default: `dev` in the data folder. */
  readonly dir: string | undefined;
  readonly hasRegistry: boolean;
  readonly postgres: number;
}

/**
 * Starts servers that outlive this process; where they run already, their addresses are given again.
 * @throws RestageError usage when those that run are not the ones asked for.
 */
export async function startDevServers(options: DevOptions, say: Say): Promise<DevState> {
  const dir = devFolder(options.dir);
  const known = await readState(dir);
  if (known !== null && known.servers.every(isRunning)) {
    requireSame(known, options, dir);
    return known;
  }
  if (known !== null) await stopDevServers(options.dir);
  await mkdir(dir, { recursive: true });
  const infrastructure = await Infrastructure.open({ say, dir, outlivesUs: true });
  try {
    const kafka = await infrastructure.startKafka();
    const registry = options.hasRegistry ? await infrastructure.startRegistry() : null;
    const postgres = [];
    for (let number = 1; number <= options.postgres; number += 1) {
      postgres.push(await infrastructure.startPostgres({ name: `postgres-${number}` }));
    }
    const started = [kafka, ...(registry === null ? [] : [registry]), ...postgres];
    const state: DevState = {
      addresses: {
        kafka: kafka.brokers,
        registry: registry?.url ?? null,
        postgres: postgres.map((server) => server.url),
      },
      servers: await findIdentities(new Set(started.map((server) => server.port))),
    };
    await writeFile(stateFile(dir), `${JSON.stringify(state, null, 2)}\n`);
    return state;
  } catch (error) {
    await infrastructure.stop();
    throw error;
  }
}

/** Stops what `dev up` started and removes its data. Gives how many servers were running. */
export async function stopDevServers(wanted: string | undefined): Promise<number> {
  const dir = devFolder(wanted);
  const state = await readState(dir);
  if (state === null) return 0;
  const processes = new ServerProcesses(recordFolder());
  let stopped = 0;
  for (const server of state.servers.toReversed()) if (await processes.stop(server)) stopped += 1;
  await rm(stateFile(dir), { force: true });
  // Only when nothing else is in it: it may be the user's own folder.
  await rmdir(dir).catch(() => undefined);
  return stopped;
}

function requireSame({ addresses }: DevState, options: DevOptions, dir: string): void {
  if ((addresses.registry !== null || !options.hasRegistry) && addresses.postgres.length >= options.postgres) return;
  const registry = addresses.registry === null ? 'without a registry' : 'with a registry';
  throw new RestageError('usage', `servers run already, ${registry} and with ${addresses.postgres.length} PostgreSQL`, {
    where: dir,
    fix: 'restage dev down first: they keep nothing',
  });
}

async function readState(dir: string): Promise<DevState | null> {
  const text = await readFile(stateFile(dir), 'utf8').catch(() => null);
  return text === null ? null : stateSchema.parse(JSON.parse(text));
}

/** The records that lasting servers leave, by the port in their names. */
async function findIdentities(ports: ReadonlySet<number>): Promise<ProcessIdentity[]> {
  const found: ProcessIdentity[] = [];
  for (const file of await readdir(recordFolder())) {
    const record = recordSchema.safeParse(JSON.parse(await readFile(path.join(recordFolder(), file), 'utf8')));
    const port = record.success ? Number(/port (\d+)/.exec(record.data.name)?.[1]) : NaN;
    if (record.success && ports.has(port)) found.push(record.data.server);
  }
  return found;
}

function devFolder(wanted: string | undefined): string {
  return wanted === undefined ? path.join(dataFolder(projectRoot()), 'dev') : path.resolve(wanted);
}

function recordFolder(): string {
  return path.join(dataFolder(projectRoot()), 'servers');
}

function stateFile(dir: string): string {
  return path.join(dir, 'dev.json');
}
