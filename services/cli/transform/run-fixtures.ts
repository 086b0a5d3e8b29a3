import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Config } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import type { ExitCode } from '#core/error-policy.ts';
import { parseFixtures, writeFixtures, type PlacedFixture } from '#core/fixtures/fixture-file.ts';
import { runFixture, type FixtureOutcome } from '#core/fixtures/fixture-run.ts';
import { diffOutcome, type FixtureResult } from '#core/fixtures/fixture-verdict.ts';
import { writeJunit, type FixtureSuite } from '#core/fixtures/junit.ts';
import type { TableStructure } from '#core/structure.ts';
import type { CliEnvironment } from '../environment.ts';
import { outputOf } from './find-rules.ts';
import { withModule } from './with-module.ts';

export interface FixtureOptions {
  readonly fixtures: string;
  readonly junit?: string;
  readonly update: boolean;
}

/** 0 when every fixture is as expected, 1 when one is not. @throws RestageError config_invalid or usage where one cannot be run. */
export async function runFixtures(config: Config, options: FixtureOptions, cli: CliEnvironment): Promise<ExitCode> {
  const files = await findFiles(options.fixtures);
  if (files.length === 0)
    throw new RestageError('usage', 'there are no fixtures: no file ends in .yaml or .yml', {
      where: options.fixtures,
    });
  const suites: FixtureSuite[] = [];
  for (const file of files) {
    const fixtures = parseFixtures(await readFile(file, 'utf8'), file);
    if (options.update) cli.out(await updateFile(config, file, fixtures));
    else suites.push(await runFile(config, file, fixtures));
  }
  if (options.update) return 0;
  for (const { results } of suites) for (const result of results) cli.out(describe(result));
  const all = suites.flatMap(({ results }) => results);
  const failed = all.filter(({ diff }) => diff !== null).length;
  cli.out(`${all.length} fixtures, ${failed} not as expected\n`);
  if (options.junit !== undefined) await writeFile(options.junit, writeJunit('restage transform test', suites));
  return failed === 0 ? 0 : 1;
}

async function runFile(config: Config, file: string, fixtures: readonly PlacedFixture[]): Promise<FixtureSuite> {
  const results: FixtureResult[] = [];
  for (const { fixture, place } of fixtures) {
    if ((fixture.expect === undefined) === (fixture.fails === undefined))
      throw new RestageError('config_invalid', 'a fixture says either what it expects or how it fails', {
        where: place,
        fix: 'write expect or fails; or have it written: --update',
      });
    const startedAt = performance.now();
    const outcome = await run(config, file, { fixture, place });
    const diff = diffOutcome(fixture, outcome);
    results.push({ name: fixture.name, place, diff, seconds: (performance.now() - startedAt) / 1000 });
  }
  return { file, results };
}

async function updateFile(config: Config, file: string, fixtures: readonly PlacedFixture[]): Promise<string> {
  const outcomes = new Map<PlacedFixture, { expect: FixtureOutcome['events'] } | { fails: string }>();
  for (const placed of fixtures) {
    const outcome = await run(config, file, placed);
    if (diffOutcome(placed.fixture, outcome) === null && hasOutcome(placed)) continue;
    outcomes.set(placed, outcome.error === null ? { expect: outcome.events } : { fails: outcome.error.code });
  }
  if (outcomes.size > 0) await writeFile(file, writeFixtures(fixtures, outcomes));
  return `${file}: ${outcomes.size} of ${fixtures.length} written anew\n`;
}

function hasOutcome({ fixture }: PlacedFixture): boolean {
  return fixture.expect !== undefined || fixture.fails !== undefined;
}

async function run(
  config: Config,
  file: string,
  { fixture, place }: Pick<PlacedFixture, 'fixture' | 'place'>,
): Promise<FixtureOutcome> {
  const structures = fixture.structures === undefined ? [] : await readStructures(file, fixture.structures, place);
  const output = outputOf(config, fixture.output, place);
  return withModule(output, config.file, (module) => runFixture(fixture, structures, output, place, module));
}

async function readStructures(file: string, name: string, place: string): Promise<TableStructure[]> {
  try {
    const parsed: unknown = JSON.parse(await readFile(path.resolve(path.dirname(file), name), 'utf8'));
    if (Array.isArray(parsed) && parsed.every(isStructure)) return parsed;
  } catch (cause) {
    throw new RestageError('config_invalid', `the structures cannot be read: ${name}`, { where: place, cause });
  }
  throw new RestageError('config_invalid', `no list of structures: ${name}`, { where: place });
}

function isStructure(value: unknown): value is TableStructure {
  if (typeof value !== 'object' || value === null) return false;
  const { columns, identity, schema, table } = value as Partial<TableStructure>;
  return Array.isArray(columns) && typeof identity === 'object' && schema !== undefined && table !== undefined;
}

/** In the order of their names, so that two runs say the same. */
async function findFiles(folder: string): Promise<string[]> {
  try {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile() && /\.ya?ml$/.test(entry.name))
      .map((entry) => path.join(entry.parentPath, entry.name))
      .toSorted();
  } catch (cause) {
    throw new RestageError('usage', 'the folder of fixtures cannot be read', { where: folder, cause });
  }
}

function describe({ name, place, diff }: FixtureResult): string {
  if (diff === null) return `ok      ${name}\n`;
  return `FAILED  ${name} (${place})\n${diff.replaceAll(/^/gm, '        ')}\n`;
}
