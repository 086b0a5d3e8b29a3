import { InvalidArgumentError, type Command } from 'commander';
import { connectPg } from '#adapters/postgres/session.ts';
import { formatTable } from '#core/table-name.ts';
import { findTarget, readConfig, requireOwnSource } from './config-file.ts';
import { makeLogger } from './logger.ts';
import { noteAction } from './migration/audit.ts';
import type { CliEnvironment } from './environment.ts';
import { setSequences, type SequenceStep } from './sequence-plan.ts';
import { formatColumns } from './table-text.ts';
import { connectTarget } from './target-checkpoint.ts';

interface SequenceOptions {
  readonly config: string;
  readonly target: string;
  readonly margin: bigint;
  readonly dryRun: boolean;
  readonly json: boolean;
}

export function registerSequences(program: Command, cli: CliEnvironment): void {
  program
    .command('sequences')
    .description(
      "sets each sequence of the target ahead of the source's and of its own column; for the switch, when writes are stopped",
    )
    .requiredOption('-c, --config <file>', 'configuration file')
    .requiredOption('--target <name>', 'which target')
    .option('--margin <steps>', 'so many steps further', readMargin, 0n)
    .option('--dry-run', 'says what it would do and does nothing', false)
    .option('--json', 'one JSON document on standard output', false)
    .action(async (options: SequenceOptions) => {
      const steps = await advance(options, cli);
      cli.out(
        options.json
          ? `${JSON.stringify({ target: options.target, dryRun: options.dryRun, sequences: steps })}\n`
          : describe(steps, options),
      );
    });
}

async function advance(options: SequenceOptions, cli: CliEnvironment): Promise<SequenceStep[]> {
  const config = await readConfig(options.config, cli.env);
  requireOwnSource(config, 'sequences');
  const target = findTarget(config, options.target);
  const from = await connectPg({
    url: config.source.url,
    purpose: 'source',
    application: `restage ${config.name} cli`,
  });
  try {
    const to = await connectTarget(config, target);
    try {
      if (!options.dryRun) {
        const given = { margin: options.margin.toString() };
        await noteAction(config, [target], { action: 'sequences', with: given }, makeLogger(cli.env, cli.isTerminal));
      }
      return await setSequences(from, to, { margin: options.margin, isDryRun: options.dryRun });
    } finally {
      await to.end();
    }
  } finally {
    await from.end();
  }
}

function describe(steps: readonly SequenceStep[], options: SequenceOptions): string {
  if (steps.length === 0) return 'no sequences\n';
  const words = { set: options.dryRun ? 'would be set' : 'set', kept: 'already there', missing: 'not in the target' };
  return formatColumns(
    ['sequence', 'was', 'is past', ''],
    steps.map((step) => [formatTable(step), step.from ?? 'unused', step.to, words[step.change]]),
  );
}

function readMargin(text: string): bigint {
  if (!/^\d{1,18}$/.test(text)) throw new InvalidArgumentError('a whole number of steps is needed.');
  return BigInt(text);
}
