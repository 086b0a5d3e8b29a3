import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { RestageError } from '#core/errors.ts';
import { freePort } from '#infra/free-port.ts';
import { readTail, type ServerProcess, type ServerProcesses } from '#infra/processes.ts';
import type { RegistryProvider } from '#infra/providers/provider.ts';

const run = promisify(execFile);
/** As infra/registry/pom.xml has it. */
const VERSION = '3.0.9';
const START_TIMEOUT_MS = 90_000;

/** Apicurio Registry, in memory, fetched by Maven on the first start. */
export function apicurioRegistry(processes: ServerProcesses, root: string): RegistryProvider {
  const home = join(root, '.restage', `registry-${VERSION}`);
  return {
    name: `Apicurio Registry ${VERSION} (Java process)`,
    async probe() {
      if (spawnSync('java', ['-version'], { stdio: 'ignore' }).status !== 0) return 'Java is missing';
      if (existsSync(home) || spawnSync('mvn', ['-v'], { stdio: 'ignore' }).status === 0) return null;
      return 'Maven is missing (Debian: apt-get install -y maven)';
    },
    async start(options) {
      if (!existsSync(home)) await fetchRegistry(root, home);
      const jar = findJar(home);
      const port = options.port ?? (await freePort());
      const server = processes.launch({
        name: `Apicurio Registry on port ${port}`,
        command: 'java',
        args: [
          '-Xmx384m',
          // Its load is light whatever is done with it: Java's optimising compiler would cost more than it gains.
          '-XX:TieredStopAtLevel=1',
          '-Dquarkus.http.host=127.0.0.1',
          `-Dquarkus.http.port=${port}`,
          '-jar',
          jar,
        ],
        user: null,
        logFile: join(options.dir, 'server.log'),
        stopSignal: 'SIGTERM',
        killSignal: 'SIGKILL',
        temporaryDir: options.isTemporary === false ? null : options.dir,
        outlivesUs: options.outlivesUs === true,
      });
      const url = `http://127.0.0.1:${port}/apis/ccompat/v7`;
      await waitUntilReady(server, url);
      return { url, port, version: VERSION, stop: () => server.stop() };
    },
  };
}

async function fetchRegistry(root: string, home: string): Promise<void> {
  const unfinished = `${home}.${process.pid}`;
  mkdirSync(unfinished, { recursive: true });
  const pom = join(root, 'infra', 'registry', 'pom.xml');
  try {
    const archive = join(unfinished, 'registry.tar.gz');
    await run('mvn', ['-q', '-B', '-f', pom, 'dependency:get', `-Ddest=${archive}`]);
    await run('tar', ['-xzf', archive, '-C', unfinished]);
    rmSync(archive);
    renameSync(unfinished, home);
  } catch (cause) {
    rmSync(unfinished, { recursive: true, force: true });
    throw new RestageError('component_missing', `Maven could not fetch Apicurio Registry ${VERSION}`, {
      where: pom,
      cause,
      fix: 'check the network, then start again',
    });
  }
}

function findJar(home: string): string {
  const jar = readdirSync(home, { recursive: true, encoding: 'utf8' }).find((path) =>
    /apicurio-registry-app-.*-runner\.jar$/.test(path),
  );
  if (jar === undefined)
    throw new RestageError('component_missing', 'the registry has no runner jar', {
      where: home,
      fix: `remove ${home} and start again`,
    });
  return join(home, jar);
}

async function waitUntilReady(server: ServerProcess, url: string): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (Date.now() < deadline && server.isRunning()) {
    const response = await fetch(`${url}/subjects`).catch(() => null);
    if (response?.ok === true) return;
    await sleep(100);
  }
  const tail = readTail(server.logFile);
  await server.stop();
  throw new RestageError('component_missing', `Apicurio Registry did not become ready: ${tail}`, {
    where: server.logFile,
  });
}
