import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { dataFolder } from '#infra/data-folder.ts';
import { freePort } from '#infra/free-port.ts';
import { readTail, ServerProcesses } from '#infra/processes.ts';
import { projectRoot } from '#infra/project-root.ts';
import { testKafka } from './servers.ts';
import { until } from './until.ts';

const run = promisify(execFile);
/** As infra/debezium/pom.xml has it. */
export const DEBEZIUM_VERSION = '3.5.0.Final';
/** As infra/avro-converter/pom.xml has it. */
const AVRO_CONVERTER_VERSION = '2.6.13.Final';
const START_TIMEOUT_MS = 90_000;

/** One Kafka Connect worker with Debezium's connectors, from Kafka's own jars. `await using` stops it. */
export interface ConnectWorker extends AsyncDisposable {
  /** Adds a connector and waits until its task runs. */
  add(name: string, config: Readonly<Record<string, string>>): Promise<void>;
  remove(name: string): Promise<void>;
  /** The task's stack trace where it failed, else null. */
  failure(name: string): Promise<string | null>;
  /** SIGKILL, and a new start on the same offsets; connectors are to be added again. */
  crash(): Promise<void>;
  readonly logFile: string;
}

export async function startConnectWorker(): Promise<ConnectWorker> {
  const root = projectRoot();
  const [plugins, converter] = await Promise.all([fetchDebezium(root), fetchAvroConverter(root)]);
  const folder = dataFolder(root);
  const processes = new ServerProcesses(join(folder, 'servers'));
  const port = await freePort();
  const dir = join(folder, `connect-${process.pid}-${port}`);
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'worker.properties'), workerProperties(dir, plugins, port));
  const server = processes.launch({
    name: `Kafka Connect on port ${port}`,
    command: 'java',
    args: [
      '-Xmx512m',
      '-XX:TieredStopAtLevel=1',
      '-XX:+UseSerialGC',
      '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
      '-cp',
      // The converter names itself to no service loader, and to look through every jar for it takes a minute on a busy machine.
      [join(root, '.restage', kafkaFolder(root), 'lib', '*'), join(converter, 'avro', '*')].join(delimiter),
      'org.apache.kafka.connect.cli.ConnectStandalone',
      join(dir, 'worker.properties'),
    ],
    user: null,
    logFile: join(dir, 'worker.log'),
    stopSignal: 'SIGTERM',
    killSignal: 'SIGKILL',
    temporaryDir: dir,
    outlivesUs: false,
  });
  const url = `http://127.0.0.1:${port}`;
  const answers = (): Promise<unknown> =>
    until(
      async () => {
        if (!server.isRunning()) throw new Error(`Kafka Connect ended: ${readTail(server.logFile)}`);
        return (await fetch(`${url}/connectors`)).ok;
      },
      { what: 'Kafka Connect to answer', timeoutMs: START_TIMEOUT_MS },
    );
  await answers();
  const failure = async (name: string): Promise<string | null> => {
    const status = await connectorStatus(url, name);
    return status?.tasks.find((task) => task.state === 'FAILED')?.trace ?? null;
  };
  return {
    logFile: server.logFile,
    failure,
    async crash() {
      await server.restart('crash');
      await answers();
    },
    async add(name, config) {
      const response = await fetch(`${url}/connectors`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ name, config }),
      });
      if (!response.ok) throw new Error(`connector ${name} was refused: ${await response.text()}`);
      await until(
        async () => {
          const trace = await failure(name);
          if (trace !== null) return trace;
          return (await connectorStatus(url, name))?.tasks.some((task) => task.state === 'RUNNING');
        },
        { what: `connector ${name} to run` },
      );
    },
    async remove(name) {
      await fetch(`${url}/connectors/${name}`, { method: 'DELETE' });
      await until(async () => (await connectorStatus(url, name)) === null, { what: `connector ${name} to be gone` });
    },
    [Symbol.asyncDispose]: () => server.stop(),
  };
}

interface ConnectorStatus {
  readonly tasks: readonly { readonly state: string; readonly trace?: string }[];
}

async function connectorStatus(url: string, name: string): Promise<ConnectorStatus | null> {
  const response = await fetch(`${url}/connectors/${name}/status`);
  return response.ok ? ((await response.json()) as ConnectorStatus) : null;
}

/** The folder of the unpacked connectors. */
function fetchDebezium(root: string): Promise<string> {
  return fetchPlugin(join(root, '.restage', `debezium-${DEBEZIUM_VERSION}`), async (unfinished) => {
    const archives = join(unfinished, 'archives');
    await copyDependencies(join(root, 'infra', 'debezium', 'pom.xml'), archives, ['-DexcludeTransitive=true']);
    for (const archive of readdirSync(archives)) await run('tar', ['-xzf', join(archives, archive), '-C', unfinished]);
    rmSync(archives, { recursive: true });
  });
}

/** The folder of a converter that writes Avro through a registry. */
function fetchAvroConverter(root: string): Promise<string> {
  return fetchPlugin(join(root, '.restage', `avro-converter-${AVRO_CONVERTER_VERSION}`), (unfinished) =>
    copyDependencies(join(root, 'infra', 'avro-converter', 'pom.xml'), join(unfinished, 'avro'), [
      '-DincludeScope=runtime',
    ]),
  );
}

/** Fetched by Maven on first use. */
async function fetchPlugin(home: string, fill: (folder: string) => Promise<void>): Promise<string> {
  if (existsSync(home)) return home;
  const unfinished = `${home}.${process.pid}`;
  mkdirSync(unfinished, { recursive: true });
  try {
    await fill(unfinished);
    renameSync(unfinished, home);
  } catch (error) {
    // Another worker of the suite may have fetched it meanwhile.
    if (!existsSync(home)) throw error;
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
  return home;
}

async function copyDependencies(pom: string, folder: string, more: readonly string[]): Promise<void> {
  await run('mvn', ['-q', '-B', '-f', pom, 'dependency:copy-dependencies', ...more, `-DoutputDirectory=${folder}`]);
}

/** A connector's options for that converter, in the frame and with the ids of Confluent's registry; `registry` as kafka.registry.url. */
export function avroConverter(registry: string): Readonly<Record<string, string>> {
  const options = {
    '': 'io.apicurio.registry.utils.converter.AvroConverter',
    '.apicurio.registry.url': registry.replace(/apis\/ccompat.*/, 'apis/registry/v2'),
    '.apicurio.registry.auto-register': 'true',
    '.apicurio.registry.headers.enabled': 'false',
    '.apicurio.registry.as-confluent': 'true',
    '.apicurio.registry.use-id': 'contentId',
  };
  return Object.fromEntries(
    ['key', 'value'].flatMap((what) =>
      Object.entries(options).map(([name, value]) => [`${what}.converter${name}`, value]),
    ),
  );
}

function kafkaFolder(root: string): string {
  const folder = readdirSync(join(root, '.restage')).find((name) => name.startsWith('kafka-'));
  if (folder === undefined) throw new Error("Kafka's jars are missing: npm test fetches them");
  return folder;
}

/** Kafka: "Kafka Connect Configs". */
function workerProperties(dir: string, plugins: string, port: number): string {
  const settings: Readonly<Record<string, string | number | boolean>> = {
    'bootstrap.servers': testKafka(),
    'key.converter': 'org.apache.kafka.connect.json.JsonConverter',
    'value.converter': 'org.apache.kafka.connect.json.JsonConverter',
    'offset.storage.file.filename': join(dir, 'offsets'),
    'offset.flush.interval.ms': 500,
    'plugin.path': plugins,
    'plugin.discovery': 'service_load',
    'connector.client.config.override.policy': 'All',
    listeners: `http://127.0.0.1:${port}`,
    'task.shutdown.graceful.timeout.ms': 2_000,
  };
  return Object.entries(settings)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('');
}
