import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseJournal } from '#core/migration/journal.ts';
import { entriesOf, type MigrationReport } from '#core/migration/migration-report.ts';
import { STEPS_AFTER, STEPS_BEFORE } from '#core/migration/steps.ts';
import { isLongRun } from '../harness/chaos/long-run.ts';
import { runCli, startCli, type CliProcess, type CliResult } from '../harness/cli.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { LiveWriters, type Side } from '../harness/live-writers.ts';
import { testKafka } from '../harness/servers.ts';
import { until } from '../harness/until.ts';

const NAMES = ['billing', 'shipping'] as const;
type Name = (typeof NAMES)[number];

const tablesSql = (schema: string): string => `
  CREATE SCHEMA ${schema};
  CREATE TABLE ${schema}.ledger (n bigserial PRIMARY KEY, id text NOT NULL UNIQUE);
  CREATE TABLE ${schema}.total (id int PRIMARY KEY, n int NOT NULL);
  INSERT INTO ${schema}.total VALUES (1, 0);
  CREATE TABLE ${schema}.probe (id text PRIMARY KEY);
  CREATE TABLE ${schema}.orders (id text PRIMARY KEY, note text);`;

let source: TestDatabase;
let targets: Record<Name, TestDatabase>;
let folder: string;
let services: CliProcess[];
let writers: Record<Name, LiveWriters>;

const fileOf = (kind: 'alone' | 'together'): string => path.join(folder, `${kind}.yaml`);

beforeAll(async () => {
  source = await createDatabase(15, 'mono_source');
  targets = { billing: await createDatabase(15, 'mono_bill'), shipping: await createDatabase(15, 'mono_ship') };
  folder = await mkdtemp(path.join(tmpdir(), 'restage-together-'));
  for (const name of NAMES) await source.client.query(tablesSql(name));
  // A file for each target, in one piece.
  const hook = path.join(folder, 'hook.sh');
  await writeFile(
    hook,
    `for name in billing shipping; do case "$RESTAGE_HOOK" in *"\\"target\\":\\"$name\\""*)
       printf '%s' "$RESTAGE_HOOK" > '${folder}'/$name.new && mv '${folder}'/$name.new '${folder}'/$name.json ;; esac; done\n`,
  );
  const text = `
name: ${source.name.replaceAll('_', '-')}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" }, heartbeatMs: 1000 }
transform:
  outputs:
${NAMES.map((name) => `    - { name: ${name}, tables: ["${name}.*"] }`).join('\n')}
targets:
${NAMES.map((name) => `  - { name: ${name}, output: ${name}, postgres: { url: "${targets[name].url}" } }`).join('\n')}
`;
  const command = `hook: { command: ["sh", "${hook}"] }`;
  await writeFile(fileOf('alone'), `${text}cutover: { ${command} }\n`);
  await writeFile(fileOf('together'), `${text}cutover: { together: [billing, shipping], ${command} }\n`);
  services = [startCli(['run', '-c', fileOf('alone')], { RESTAGE_HTTP_PORT: '0' })];
  for (const name of NAMES) {
    const waited = await runCli(['wait', '-c', fileOf('alone'), '--target', name, '--timeout', '60'], {}, 300_000);
    expect(waited, waited.stderr + services.map((one) => one.stderr()).join('')).toMatchObject({ code: 0 });
    services.push(startCli(['reverse', '-c', fileOf('alone'), '--target', name]));
    const verified = await runCli(['verify', '-c', fileOf('alone'), '--target', name]);
    expect(verified, verified.stdout + verified.stderr).toMatchObject({ code: 0 });
  }
}, 300_000);

afterAll(async () => {
  for (const name of NAMES) await writers[name].end();
  for (const service of services) await service[Symbol.asyncDispose]();
  await source[Symbol.asyncDispose]();
  for (const name of NAMES) await targets[name][Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

async function operate(
  kind: 'alone' | 'together',
  command: 'cutover' | 'rollback',
  target: Name,
  point?: string,
): Promise<CliResult> {
  const env = point === undefined ? {} : { RESTAGE_FAILPOINTS: `${point}=kill` };
  const args = [command, '-c', fileOf(kind), '--target', target, '--yes', '--time-box', '90s'];
  const result = await runCli(args, env, 240_000);
  if (point === undefined) return result;
  expect(result, `${point}\n${result.stderr}`).toMatchObject({ signal: 'SIGKILL' });
  return result;
}

/** It takes writes, has all that was acknowledged, and the other side comes to have it too. */
async function requireLive(name: Name, live: Side): Promise<void> {
  const own = writers[name];
  const before = own.countOf(live);
  await until(() => own.countOf(live) > before + 3, { what: `writes of ${name} on the ${live}`, timeoutMs: 40_000 });
  expect(await own.missingAt(live), name).toEqual([]);
  const known = [...own.accepted];
  const other = live === 'source' ? 'target' : 'source';
  await until(async () => (await own.missingAt(other, known)).length === 0, {
    timeoutMs: 180_000,
    what: `what ${name} wrote on the ${live} comes to the ${other}`,
  });
  expect(own.failures).toEqual([]);
}

test('one after the other: the source stays live for the tables of the other target, and an undo opens those alone', async () => {
  // From here on neither target takes writes but Restage's.
  for (const name of NAMES) {
    const nobody = await operate('alone', 'cutover', name, 'switch.objects.before');
    expect(nobody.stderr).toContain('guards stand before');
  }
  writers = Object.fromEntries(
    NAMES.map((name) => [
      name,
      new LiveWriters({
        urls: { source: source.url, target: targets[name].url },
        schema: name,
        hookFile: path.join(folder, `${name}.json`),
        orders: { source: `${name}.orders`, target: `${name}.orders` },
        note: { source: 'note', target: 'note' },
      }),
    ]),
  ) as Record<Name, LiveWriters>;
  const done = await operate('alone', 'cutover', 'billing');
  expect(done, done.stderr).toMatchObject({ code: 0 });
  await requireLive('billing', 'target');
  await operate('alone', 'cutover', 'shipping', 'switch.seal.after');
  const back = await operate('alone', 'rollback', 'shipping');
  expect(back, back.stderr).toMatchObject({ code: 0 });
  expect(back.stderr).toContain('everything is undone: the source is live');
  await requireLive('shipping', 'source');
  await expect(source.client.query(`INSERT INTO billing.probe VALUES ('old')`)).rejects.toMatchObject({
    code: '25006',
  });
  expect(writers.billing.eras()).toEqual(['source', 'target']);
  const joined = await operate('together', 'cutover', 'shipping');
  expect(joined, joined.stderr).toMatchObject({ code: 1 });
  expect(joined.stderr).toContain('target billing was switched by itself');
  const returned = await operate('alone', 'rollback', 'billing');
  expect(returned, returned.stderr).toMatchObject({ code: 0 });
  await requireLive('billing', 'source');
  expect(writers.shipping.eras()).toEqual(['source']);
}, 600_000);

const sweep = (some: readonly string[]): readonly string[] =>
  isLongRun()
    ? [...STEPS_BEFORE.map(({ name }) => name), 'commit', ...STEPS_AFTER.map(({ name }) => name)].flatMap((name) => [
        `switch.${name}.before`,
        `switch.${name}.after`,
      ])
    : some;

test('together: one point of no return for both, whichever is named, there and back, with operators killed in between', async () => {
  for (const point of sweep(['switch.freeze.before', 'switch.commit.after']))
    await operate('together', 'cutover', 'shipping', point);
  const done = await operate('together', 'cutover', 'shipping');
  expect(done, done.stderr).toMatchObject({ code: 0 });
  for (const name of NAMES) await requireLive(name, 'target');
  const status = await runCli(['status', '-c', fileOf('together')]);
  expect(status.stdout).toMatch(/billing: migration SWITCHED, together with shipping; the target is live/);
  expect(status.stdout).toMatch(/shipping: migration SWITCHED, together with billing; the target is live/);
  // The report of either has both: their proofs and chains each, and the switches that the first one's journal has.
  const reports = path.join(folder, 'report');
  const report = await runCli(['report', '-c', fileOf('together'), '--target', 'shipping', '--out', reports, '--json']);
  expect(report, report.stderr).toMatchObject({ code: 0 });
  const { audit, joined, switches } = JSON.parse(report.stdout) as MigrationReport;
  expect(joined).toMatchObject([{ target: 'billing', structure: { differences: [] } }]);
  for (const chain of [audit, ...joined.flatMap((one) => ('missing' in one ? [] : [one.audit]))]) {
    expect(
      parseJournal(
        chain.map((record) => JSON.stringify(record)),
        'report',
      ).length,
    ).toBeGreaterThan(2);
    expect(entriesOf(chain, 'verified')).toMatchObject([{ verdict: 'equal' }]);
    expect(entriesOf(chain, 'checked').at(-1)).toMatchObject({ gate: 'cutover', blocks: [] });
  }
  const drained = switches.at(-1)?.steps.find(({ name }) => name === 'drain')?.evidence ?? {};
  expect(Object.keys(drained)).toEqual(['billing.barrier', 'shipping.barrier']);
  const page = await readFile(path.join(reports, 'migration.html'), 'utf8');
  for (const name of NAMES)
    for (const part of ['Plan', 'Structure', 'Rows and bytes', 'Verification', 'Audit'])
      expect(page).toContain(`<h2>${part} of ${name}</h2>`);
  expect(page).not.toMatch(/src=|href=|<script/);
  const alone = await operate('alone', 'rollback', 'shipping');
  expect(alone, alone.stderr).toMatchObject({ code: 1 });
  expect(alone.stderr).toContain('in another plan');
  for (const point of sweep(['switch.seal.after', 'switch.open.before']))
    await operate('together', 'rollback', 'billing', point);
  const back = await operate('together', 'rollback', 'billing');
  expect(back, back.stderr).toMatchObject({ code: 0 });
  for (const name of NAMES) {
    await requireLive(name, 'source');
    expect(writers[name].eras().slice(-3)).toEqual(['source', 'target', 'source']);
  }
}, 900_000);

test.runIf(isLongRun())(
  'complete ends the migration of both, and no slot of a way back is left',
  async () => {
    const done = await operate('together', 'cutover', 'billing');
    expect(done, done.stderr).toMatchObject({ code: 0 });
    for (const name of NAMES) await writers[name].end();
    const args = ['complete', '-c', fileOf('together'), '--target', 'shipping', '--yes'];
    const completed = await runCli(args, {}, 300_000);
    expect(completed, completed.stdout + completed.stderr).toMatchObject({ code: 0 });
    for (const name of NAMES) {
      await targets[name].client.query(`INSERT INTO ${name}.probe VALUES ('free')`);
      await expect(source.client.query(`INSERT INTO ${name}.probe VALUES ('late')`)).rejects.toMatchObject({
        code: '25006',
      });
      const slots = await targets[name].client.query(
        'SELECT FROM pg_replication_slots WHERE database = current_database()',
      );
      expect(slots.rowCount).toBe(0);
    }
    const status = await runCli(['status', '-c', fileOf('together')]);
    expect(status.stdout.match(/migration COMPLETED/g)).toHaveLength(2);
  },
  400_000,
);
