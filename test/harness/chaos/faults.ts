import { pause } from '#core/backoff.ts';
import type { SeededRandom } from '../random.ts';
import { servicesOf, signalProcess } from '../service-processes.ts';
import type { Toxic } from '../tcp-proxy.ts';
import { withClient } from './bank-pipeline.ts';
import { SERVER_NAMES, type ServerName, type StormServers } from './storm-servers.ts';

export interface FaultScene {
  readonly servers: StormServers;
  /** Of the `restage run` processes. */
  readonly runs: readonly number[];
  readonly config: string;
  readonly random: SeededRandom;
  /** How long a link stays spoilt at most. */
  readonly longestMs: number;
}

/** One thing that goes wrong, already mended when it resolves; gives what it was. */
export type Fault = (scene: FaultScene) => Promise<string>;

const SERVICES = ['producer', 'transformer', 'sink'];
/** Sessions of ours at either server: lease and apply or snapshot sessions, and the walsender. */
const TERMINATE_SQL = `
  SELECT pg_terminate_backend(pid) FROM pg_stat_activity
   WHERE application_name LIKE 'restage %' AND CASE $1 WHEN 'lease' THEN application_name LIKE '% lease'
     WHEN 'walsender' THEN backend_type = 'walsender' ELSE application_name NOT LIKE '% lease' AND backend_type <> 'walsender' END`;

const killService: Fault = async ({ runs, config, random }) => {
  const service = random.pick(SERVICES);
  const found = (await Promise.all(runs.map((run) => servicesOf(run, config)))).flat();
  const victims = found.filter((one) => one.service === service);
  if (victims.length > 0) signalProcess(random.pick(victims).pid, 'SIGKILL');
  return `SIGKILL of a ${service}`;
};

const terminateSessions: Fault = async ({ servers, random }) => {
  const [side, which] = random.pick([
    ['source', 'lease'],
    ['source', 'walsender'],
    ['source', 'other'],
    ['target', 'lease'],
    ['target', 'other'],
  ] as const);
  // A server that is on its way up has no sessions of ours to end.
  await withClient(servers.direct[side], (client) => client.query(TERMINATE_SQL, [which])).catch(() => undefined);
  return `end of the ${which} sessions at the ${side}`;
};

const restartServer: Fault = async ({ servers, random }) => {
  const server = random.pick(SERVER_NAMES);
  const how = random.chance(0.7) ? 'crash' : 'stop';
  await servers.restart(server, how);
  return `${how} of ${server}, and its start`;
};

const spoilLink: Fault = async ({ servers, random, longestMs }) => {
  const name: ServerName = random.pick(SERVER_NAMES);
  const toxic = random.pick<Toxic>([
    { kind: 'latency', ms: random.between(1, 100), jitterMs: random.between(0, 100) },
    { kind: 'slice', bytes: random.between(1, 3) },
    { kind: 'cut', bytes: random.between(1, 4_096) },
    { kind: 'blackHole' },
    { kind: 'reset' },
  ]);
  const ms = random.between(300, longestMs);
  servers.links[name].spoil(toxic);
  await pause(ms);
  servers.links[name].mend();
  return `${JSON.stringify(toxic)} on the link to ${name} for ${ms} ms`;
};

const KINDS: readonly Fault[] = [killService, killService, terminateSessions, restartServer, spoilLink, spoilLink];

/** One fault, or two at once. */
export async function makeFault(scene: FaultScene): Promise<string> {
  const count = scene.random.chance(0.3) ? 2 : 1;
  const faults = Array.from({ length: count }, () => scene.random.pick(KINDS));
  return (await Promise.all(faults.map((fault) => fault(scene)))).join(' and ');
}
