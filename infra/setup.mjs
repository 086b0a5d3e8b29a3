// What `npm start` and `npm test` do on a fresh checkout, before anything is installed: plain Node, no dependency.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const OLDEST_NODE = [20, 19];
const OLDEST_JAVA = 17;
const began = Date.now();

function say(line) {
  process.stderr.write(`[${((Date.now() - began) / 1000).toFixed(1).padStart(5)} s] ${line}\n`);
}

function fail(...lines) {
  for (const line of lines) process.stderr.write(`${line}\n`);
  process.exit(3);
}

/** Every missing thing at once, each with the command that installs it. */
function checkMachine() {
  const missing = [];
  const install =
    process.platform === 'darwin'
      ? { java: 'brew install openjdk@17', maven: 'brew install maven', postgres: 'brew install postgresql@17' }
      : {
          java: 'apt-get install -y openjdk-17-jre-headless',
          maven: 'apt-get install -y maven',
          postgres: 'apt-get install -y postgresql',
        };
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major < OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor < OLDEST_NODE[1])) {
    missing.push(
      `Node ${process.versions.node} is too old, ${OLDEST_NODE.join('.')} or newer is needed: nvm install 20`,
    );
  }
  const java = spawnSync('java', ['-version'], { encoding: 'utf8' });
  const javaMajor = java.status === 0 ? Number(/version "(\d+)/.exec(java.stderr)?.[1] ?? 0) : 0;
  if (javaMajor < OLDEST_JAVA) missing.push(`Java ${OLDEST_JAVA} or newer is missing: ${install.java}`);
  if (!isKafkaComplete() && spawnSync('mvn', ['-v'], { stdio: 'ignore' }).status !== 0)
    missing.push(`Maven is missing: ${install.maven}`);
  if (missing.length > 0)
    fail('Restage needs what this machine does not have:', ...missing.map((line) => `  - ${line}`));
  if (!hasPostgres()) {
    say(
      `no PostgreSQL is installed here; npm's embedded one is used, without pg_dump. For the real one: ${install.postgres}`,
    );
  }
}

function hasPostgres() {
  if (
    existsSync('/usr/lib/postgresql') &&
    readdirSync('/usr/lib/postgresql').some((it) => existsSync(`/usr/lib/postgresql/${it}/bin/initdb`))
  )
    return true;
  return (
    ['/opt/homebrew/opt', '/usr/local/opt'].some(
      (dir) => existsSync(dir) && readdirSync(dir).some((it) => it.startsWith('postgresql')),
    ) || spawnSync('initdb', ['--version'], { stdio: 'ignore' }).status === 0
  );
}

/** Runs a command with a line of progress every few seconds; its own words are shown when it fails. */
function runStep(what, command, args, progressOf = () => '') {
  say(`${what} …`);
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    const take = (chunk) => (output += chunk);
    child.stdout.setEncoding('utf8').on('data', take);
    child.stderr.setEncoding('utf8').on('data', take);
    const ticker = setInterval(() => say(`${what} … ${progressOf(output)}`), 3_000);
    child.on('error', (error) => take(String(error)));
    child.on('close', (code) => {
      clearInterval(ticker);
      if (code !== 0) fail(output.trimEnd().split('\n').slice(-20).join('\n'), `failed: ${command} ${args.join(' ')}`);
      say(`${what}: done`);
      resolve();
    });
  });
}

async function installPackages() {
  const installed = join(ROOT, 'node_modules', '.package-lock.json');
  const lockfile = join(ROOT, 'package-lock.json');
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(lockfile).mtimeMs) return;
  // A checkout or a commit may touch the lockfile without changing what it says.
  const stamp = join(ROOT, 'node_modules', '.restage-lock');
  const hash = hashOf(lockfile);
  if (existsSync(installed) && existsSync(stamp) && readFileSync(stamp, 'utf8') === hash) return;
  await runStep('installing packages by the lockfile (npm ci)', 'npm', ['ci', '--no-progress']);
  writeFileSync(stamp, hash);
}

function kafka() {
  const pom = join(ROOT, 'infra', 'kafka', 'pom.xml');
  const version = /<version>([^<]+)<\/version>/.exec(readFileSync(pom, 'utf8'))?.[1];
  const home = join(ROOT, '.restage', `kafka-${version}`);
  return { pom, version, home, lib: join(home, 'lib'), stamp: join(home, 'complete') };
}

function isKafkaComplete() {
  const { pom, lib, stamp } = kafka();
  return existsSync(lib) && existsSync(stamp) && readFileSync(stamp, 'utf8') === hashOf(pom);
}

async function fetchKafka() {
  if (isKafkaComplete()) return;
  const { pom, version, home, lib, stamp } = kafka();
  const unfinished = join(home, `lib.${process.pid}`);
  mkdirSync(home, { recursive: true });
  await runStep(
    `fetching Kafka ${version} from Maven Central (about 54 MB)`,
    'mvn',
    ['-B', '-f', pom, 'dependency:copy-dependencies', `-DoutputDirectory=${unfinished}`],
    (output) => `${output.match(/Downloaded from .*\.jar/g)?.length ?? 0} jars downloaded`,
  );
  rmSync(lib, { recursive: true, force: true });
  renameSync(unfinished, lib);
  writeFileSync(stamp, hashOf(pom));
}

async function build() {
  const entry = join(ROOT, 'dist', '.built');
  const newest = Math.max(
    ...['services', 'infra'].map((dir) => newestIn(join(ROOT, dir))),
    ...['package.json', 'package-lock.json'].map((it) => statSync(join(ROOT, it)).mtimeMs),
  );
  if (existsSync(entry) && statSync(entry).mtimeMs >= newest) return;
  await runStep('building dist', process.execPath, [join(ROOT, 'infra', 'bundle.mjs')]);
  writeFileSync(entry, '');
}

function newestIn(dir) {
  let newest = 0;
  for (const entry of readdirSync(dir, { withFileTypes: true, recursive: true })) {
    if (entry.isFile()) newest = Math.max(newest, statSync(join(entry.parentPath ?? entry.path, entry.name)).mtimeMs);
  }
  return newest;
}

function hashOf(file) {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}

/** Ends as the program ends; signals meant for us go to it. */
function handOver(args) {
  const child = spawn(process.execPath, args, { cwd: ROOT, stdio: 'inherit' });
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, () => child.kill(name));
  child.on('error', (error) => fail(String(error)));
  child.on('close', (code, signal) =>
    process.exit(code ?? 128 + (signal === 'SIGINT' ? 2 : signal === 'SIGKILL' ? 9 : 15)),
  );
}

const [command, ...rest] = process.argv.slice(2);
const BENCHES = { bench: 'test/bench/main.ts', 'bench:peers': 'test/bench/peers.ts' };
if (command !== 'start' && command !== 'test' && command !== 'build' && BENCHES[command] === undefined)
  fail('usage: node infra/setup.mjs start|test|build|bench|bench:peers');
checkMachine();
await installPackages();
await fetchKafka();
// Tests run from the sources.
if (command !== 'test') await build();
say('ready');
if (command === 'start') handOver(['dist/services/cli/main.js', 'demo', ...rest]);
if (BENCHES[command] !== undefined) handOver(['--import', 'tsx', BENCHES[command], ...rest]);
if (command === 'test') {
  const require = createRequire(import.meta.url);
  handOver([join(dirname(require.resolve('vitest/package.json')), 'vitest.mjs'), 'run', ...rest]);
}
