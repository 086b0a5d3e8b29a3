import { execFile, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { RestageError } from '#core/errors.ts';
import { freePort } from '#infra/free-port.ts';
import { readTail, type ServerProcess, type ServerProcesses } from '#infra/processes.ts';
import type { KafkaProvider, ServerOptions } from '#infra/providers/provider.ts';

const run = promisify(execFile);
/** As infra/kafka/pom.xml has it. */
const KAFKA_VERSION = '4.3.0';
const OLDEST_JAVA = 17;
const START_TIMEOUT_MS = 60_000;
const LARGEST_REQUEST_BYTES = 128 * 1024 * 1024;
const READY = 'Kafka Server started';
const FIRST_COMPILER_ONLY = ['-XX:TieredStopAtLevel=1'];
/** Warnings, and the one line that says it is ready. */
const LOGGING = [
  '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
  '-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info',
  '-Dorg.slf4j.simpleLogger.showDateTime=true',
];

/** One KRaft node of a real Kafka from Maven's jars in `root`/.restage. */
export function javaKafka(processes: ServerProcesses, root: string): KafkaProvider {
  const lib = join(root, '.restage', `kafka-${KAFKA_VERSION}`, 'lib');
  return {
    name: `Kafka ${KAFKA_VERSION} (Java process)`,
    async probe() {
      const java = javaMajor();
      if (java === null) return 'Java is missing (Debian: apt-get install -y openjdk-17-jre-headless)';
      if (java < OLDEST_JAVA) return `Java ${java} is too old, ${OLDEST_JAVA} is needed`;
      return existsSync(lib) ? null : 'its jars are missing (npm start and npm test fetch them)';
    },
    async start(options) {
      const port = options.port ?? (await freePort());
      await format(lib, options, port);
      const server = processes.launch({
        name: `Kafka on port ${port}`,
        command: 'java',
        args: [
          `-Xmx${options.heapMegabytes ?? 512}m`,
          '-Xms256m',
          '-XX:+UseG1GC',
          ...(options.isBrief === true ? FIRST_COMPILER_ONLY : []),
          '-XX:+ExitOnOutOfMemoryError',
          '-Djava.awt.headless=true',
          ...LOGGING,
          '-cp',
          join(lib, '*'),
          'kafka.Kafka',
          join(options.dir, 'server.properties'),
        ],
        user: null,
        logFile: join(options.dir, 'server.log'),
        stopSignal: 'SIGTERM',
        killSignal: 'SIGKILL',
        temporaryDir: options.isTemporary === false ? null : options.dir,
        outlivesUs: options.outlivesUs === true,
      });
      await waitUntilReady(server);
      return {
        brokers: `127.0.0.1:${port}`,
        port,
        version: KAFKA_VERSION,
        logFile: server.logFile,
        stop: () => server.stop(),
        restart: (how) => server.restart(how),
      };
    },
  };
}

/** null: no java on the PATH. */
function javaMajor(): number | null {
  const { stderr, status } = spawnSync('java', ['-version'], { encoding: 'utf8' });
  return status === 0 ? Number(/version "(\d+)/.exec(stderr)?.[1] ?? 0) : null;
}

async function format(lib: string, options: ServerOptions, port: number): Promise<void> {
  mkdirSync(options.dir, { recursive: true });
  const properties = join(options.dir, 'server.properties');
  writeFileSync(properties, serverProperties(join(options.dir, 'data'), port, await freePort(), options.settings));
  const cluster = Buffer.from(randomUUID().replaceAll('-', ''), 'hex').toString('base64url');
  const quick = [...FIRST_COMPILER_ONLY, '-XX:+UseSerialGC', ...LOGGING];
  try {
    await run('java', [
      ...quick,
      '-cp',
      join(lib, '*'),
      'kafka.tools.StorageTool',
      'format',
      // One in 64 begins with a dash, and would be taken for an option.
      `--cluster-id=${cluster}`,
      '-c',
      properties,
    ]);
  } catch (cause) {
    throw new RestageError(
      'component_missing',
      `Kafka's storage could not be formatted: ${cause instanceof Error ? cause.message : String(cause)}`,
      {
        where: options.dir,
        cause,
      },
    );
  }
}

/** Kafka: "Broker Configs". One node is broker and controller; every internal topic has one copy. */
function serverProperties(
  data: string,
  port: number,
  controllerPort: number,
  more: ServerOptions['settings'] = {},
): string {
  const settings: Readonly<Record<string, string | number | boolean>> = {
    'process.roles': 'broker,controller',
    'node.id': 1,
    'controller.quorum.voters': `1@127.0.0.1:${controllerPort}`,
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}`,
    'controller.listener.names': 'CONTROLLER',
    'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'log.dirs': data.replaceAll('\\', '/'),
    'num.partitions': 1,
    'auto.create.topics.enable': false,
    'offsets.topic.replication.factor': 1,
    'offsets.topic.num.partitions': 4,
    'transaction.state.log.replication.factor': 1,
    'transaction.state.log.min.isr': 1,
    'transaction.state.log.num.partitions': 4,
    'share.coordinator.state.topic.replication.factor': 1,
    'share.coordinator.state.topic.min.isr': 1,
    'group.initial.rebalance.delay.ms': 0,
    'message.max.bytes': LARGEST_REQUEST_BYTES,
    'replica.fetch.max.bytes': LARGEST_REQUEST_BYTES,
    'socket.request.max.bytes': LARGEST_REQUEST_BYTES + 1_048_576,
    'log.retention.ms': -1,
    'log.segment.bytes': 268_435_456,
    // The first entry of each topic's two indexes takes some systems of files ten milliseconds: with 4 kB between entries a thousand small tables wait ten seconds.
    'log.index.interval.bytes': 65_536,
    ...more,
  };
  return Object.entries(settings)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('');
}

async function waitUntilReady(server: ServerProcess): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (Date.now() < deadline && server.isRunning()) {
    if (readTail(server.logFile, 200).includes(READY)) return;
    await sleep(50);
  }
  const tail = readTail(server.logFile);
  await server.stop();
  throw new RestageError('component_missing', `Kafka did not become ready: ${tail}`, { where: server.logFile });
}
