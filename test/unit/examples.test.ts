import { readFileSync } from 'node:fs';
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
  for (const path of args.filter((arg) => arg.startsWith('/')))
    expect(
      mounted.some((mount) => path.startsWith(`${mount}/`)),
      path,
    ).toBe(true);

  const { env } = workflow.jobs.rehearse;
  const filled = Object.fromEntries(Object.keys(env).map((name) => [name, fill(name)]));
  const config = loadConfig(read('shop.yaml'), 'shop.yaml', filled);
  expect(config.targets.map(({ name }) => name)).toEqual(['new']);
  expect(config.rehearsal?.budget).toEqual({ switchSeconds: 3, replaySeconds: 3600 });
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
