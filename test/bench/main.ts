import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { dataFolder } from '#infra/data-folder.ts';
import { exitOnSignals } from '#infra/processes.ts';
import { projectRoot } from '#infra/project-root.ts';
import { buildProgram } from '../harness/build-program.ts';
import type { BenchCase, BenchOptions } from './bench-case.ts';
import { startServers } from './bench-servers.ts';
import { drain, stages } from './cases/drain.ts';
import { HUGE_AND_LONG } from './cases/huge-and-long.ts';
import { growth } from './cases/growth.ts';
import { idle } from './cases/idle.ts';
import { lanes } from './cases/lanes.ts';
import { latency } from './cases/latency.ts';
import { load } from './cases/load.ts';
import { rules } from './cases/rules.ts';
import { wide } from './cases/wide.ts';
import { drawResults } from './chart.ts';
import { describe, type RunResult } from './result.ts';

const CASES: readonly BenchCase[] = [load, drain, stages, lanes, rules, wide, growth, latency, idle, ...HUGE_AND_LONG];

const { values } = parseArgs({
  options: {
    case: { type: 'string', multiple: true, default: [] },
    scale: { type: 'string', default: '5' },
    transactions: { type: 'string', default: '25000' },
    size: { type: 'string', default: '0.01' },
    lanes: { type: 'string', default: '0' },
    profiles: { type: 'string' },
    out: { type: 'string', default: path.join(dataFolder(projectRoot()), 'bench') },
  },
});

const say = (line: string): void => void process.stderr.write(`${line}\n`);
const options: BenchOptions = {
  scale: Number(values.scale),
  transactions: Number(values.transactions),
  size: Number(values.size),
  lanes: Number(values.lanes),
  profiles: values.profiles ?? null,
  say,
};
const unknown = values.case.filter((name) => CASES.every((one) => one.name !== name));
if (unknown.length > 0) {
  say(`no case ${unknown.join(', ')}; there are:`);
  for (const { name, about } of CASES) say(`  ${name}: ${about}`);
  process.exit(2);
}
exitOnSignals();
await buildProgram();
const results: RunResult[] = [];
await using servers = await startServers(say);
for (const one of CASES.filter(({ name }) => values.case.length === 0 || values.case.includes(name))) {
  say(`case ${one.name}: ${one.about}`);
  await one.run(servers, options, (result) => {
    results.push(result);
    say(describe(result));
  });
}
mkdirSync(values.out, { recursive: true });
writeFileSync(
  path.join(values.out, 'result.json'),
  `${JSON.stringify({ versions: servers.versions, results }, null, 2)}\n`,
);
writeFileSync(path.join(values.out, 'result.html'), drawResults(servers.versions, results));
say(`figures and a chart: ${path.join(values.out, 'result.html')}`);
