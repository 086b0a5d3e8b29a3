import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Ajv } from 'ajv';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { loadConfig } from '#core/config-load.ts';
import { makeProgram } from '../../services/cli/program.ts';
import { JOB_SCHEMA, WORKFLOW_SCHEMA } from './example-schemas.ts';

interface Workflow {
  readonly jobs: {
    readonly rehearse: {
      readonly env: Readonly<Record<string, string>>;
      readonly services: object;
      readonly steps: readonly { readonly run?: string }[];
    };
  };
}

interface Job {
  readonly spec: {
    readonly template: {
      readonly spec: {
        readonly containers: readonly [
          { readonly args: readonly string[]; readonly volumeMounts: readonly { name: string; mountPath: string }[] },
        ];
        readonly volumes: readonly { readonly name: string }[];
      };
    };
  };
}

const WORKFLOW = read('rehearse-workflow.yaml');
const workflow = parse(WORKFLOW) as Workflow;
const job = parse(read('rehearse-job.yaml')) as Job;

test.each([
  ['the workflow', workflow, WORKFLOW_SCHEMA],
  ['the job', job, JOB_SCHEMA],
])('%s is of the form that its platform takes', (_name, document, schema) => {
  const validate = new Ajv({ allErrors: true, strictRequired: false }).compile(schema);
  validate(document);
  expect(validate.errors ?? []).toEqual([]);
  // And the schema tells a wrong key.
  expect(validate({ ...document, unknown: 1 })).toBe(false);
});

test('secrets come by the environment alone, never into a script', () => {
  for (const { run = '' } of workflow.jobs.rehearse.steps) expect(run).not.toContain('${{');
  const expressions = [...WORKFLOW.matchAll(/\$\{\{(.*?)\}\}/g)].map(([, inner = '']) => inner.trim());
  expect(expressions.length).toBeGreaterThan(3);
  for (const expression of expressions) expect(expression).toMatch(/^(vars|secrets)\.[A-Z_]+$/);
});

test('their commands are ones that Restage takes, on a configuration that loads', async () => {
  const runs = workflow.jobs.rehearse.steps.flatMap(({ run }) => (run === undefined ? [] : [run]));
  const ofWorkflow = runs.map((run) => run.replace(/ > \S+$/, '').split(' '));
  for (const [program = '', ...args] of ofWorkflow) {
    expect(program).toBe('restage');
    await requireKnown(args);
  }
  const [{ args, volumeMounts }] = job.spec.template.spec.containers;
  await requireKnown(args);
  const volumes = job.spec.template.spec.volumes.map(({ name }) => name);
  expect(volumeMounts.map(({ name }) => name)).toEqual(volumes);
  const mounted = volumeMounts.map(({ mountPath }) => mountPath);
  for (const named of args.filter((arg) => arg.startsWith('/')))
    expect(
      mounted.some((mount) => named.startsWith(`${mount}/`)),
      named,
    ).toBe(true);

  const { env } = workflow.jobs.rehearse;
  const filled = Object.fromEntries(Object.keys(env).map((name) => [name, fill(name)]));
  const config = loadConfig(read('shop.yaml'), 'shop.yaml', filled);
  expect(config.targets.map(({ name }) => name)).toEqual(['new']);
  expect(config.rehearsal?.budget).toEqual({ switchSeconds: 3, downtimeSeconds: 3, replaySeconds: 3600 });
});

function fill(name: string): string {
  return name === 'KAFKA_BROKERS' ? '127.0.0.1:9092' : `postgresql://restage@127.0.0.1/${name.toLowerCase()}`;
}

async function requireKnown([name = '', ...args]: readonly string[]): Promise<void> {
  const cli = {
    env: {},
    out: () => undefined,
    err: () => undefined,
    isTerminal: false,
    canAsk: false,
    self: [],
    setExitCode: () => undefined,
  };
  const program = await makeProgram({ ...cli, signal: new AbortController().signal }, '0', [name]);
  const command = program.commands.find((one) => one.name() === name);
  expect(command, name).toBeDefined();
  expect(command?.parseOptions([...args])).toEqual({ operands: [], unknown: [] });
  for (const { mandatory, attributeName } of command?.options.map((option) => ({
    mandatory: option.mandatory,
    attributeName: option.attributeName(),
  })) ?? [])
    if (mandatory) expect(command?.getOptionValue(attributeName), `${name}: ${attributeName}`).toBeDefined();
}

function read(name: string): string {
  return readFileSync(new URL(`../../docs/examples/${name}`, import.meta.url), 'utf8');
}

/** What PgBouncer 1.18's console prints, of a database that is paused or not; it refuses a second PAUSE and RESUME, as that does. */
const CONSOLE = `#!/bin/sh
echo "$7" >> "$DIR/said"
paused=$(cat "$DIR/paused")
case "$7" in
  'SHOW DATABASES') printf 'name|host|port|database|force_user|paused|disabled\\nother|h|1|o||0|0\\nshop|h|1|shop||%s|0\\n(2 rows)\\n' "$paused" ;;
  'PAUSE shop') [ "$paused" = 0 ] && echo 1 > "$DIR/paused" ;;
  'RESUME shop') [ "$paused" = 1 ] && echo 0 > "$DIR/paused" ;;
esac
`;

test('the hook for PgBouncer holds, resumes and flips, whichever event comes twice', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'restage-pgbouncer-'));
  try {
    writeFileSync(path.join(folder, 'psql'), CONSOLE, { mode: 0o755 });
    writeFileSync(path.join(folder, 'paused'), '0');
    const live = path.join(folder, 'live.ini');
    const tell = (event: string, side: string | null): { status: number | null; paused: string } => {
      const { status } = spawnSync('sh', ['docs/examples/pgbouncer-hook.sh'], {
        env: {
          PATH: `${folder}:${process.env['PATH'] ?? ''}`,
          DIR: folder,
          RESTAGE_HOOK: JSON.stringify({ event, pipeline: 'shop', target: 'new', live: side }),
          PGBOUNCER_CONSOLE: 'postgresql://admin@127.0.0.1:6432/pgbouncer',
          PGBOUNCER_DATABASE: 'shop',
          PGBOUNCER_INCLUDE: live,
          SOURCE_ENTRY: 'host=old dbname=shop',
          TARGET_ENTRY: 'host=new dbname=shop',
        },
      });
      return { status, paused: readFileSync(path.join(folder, 'paused'), 'utf8').trim() };
    };
    const [held, free] = [
      { status: 0, paused: '1' },
      { status: 0, paused: '0' },
    ];
    expect([tell('hold', null), tell('hold', null)]).toEqual([held, held]);
    expect([tell('resume', 'source'), tell('resume', 'source')]).toEqual([free, free]);
    expect([tell('hold', null), tell('flip', 'target'), tell('flip', 'target')]).toEqual([held, free, free]);
    expect(readFileSync(live, 'utf8')).toBe('shop = host=new dbname=shop\n');
    expect(tell('flip', 'source')).toEqual({ status: 0, paused: '0' });
    expect(readFileSync(live, 'utf8')).toBe('shop = host=old dbname=shop\n');
    expect(readFileSync(path.join(folder, 'said'), 'utf8')).toContain('RELOAD');
    expect(tell('dance', null).status).toBe(2);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
