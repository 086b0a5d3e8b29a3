import { InvalidArgumentError, type Command } from 'commander';
import type { Side } from '#core/migration/journal.ts';
import { findTarget, readShapedConfig, requireOwnSource } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';
import { makeLogger } from './logger.ts';

interface CutoverOptions {
  readonly config: string;
  readonly target: string;
  readonly timeBox: number;
  readonly verifiedWithin?: number;
  readonly wayBack?: boolean;
  readonly terminate: boolean;
  readonly dryRun: boolean;
  readonly yes: boolean;
  readonly json: boolean;
}

const TIME_BOX_MS = 30_000;
const DAY_MS = 24 * 60 * 60 * 1_000;

/** `cutover` and `rollback`, which are one switch in two directions. */
export function registerCutover(program: Command, cli: CliEnvironment): void {
  register(
    program,
    cli,
    'target',
    'cutover',
    'makes a target the live side: fence, drain, proof, switch; undoes itself before its point of no return',
  )
    .option('--verified-within <time>', 'how old the last equal verify may be, as 30m or 24h', readTime, DAY_MS)
    .option('--no-way-back', 'without a pipeline that keeps the source current: there is no rollback then');
  register(
    program,
    cli,
    'source',
    'rollback',
    'makes the source the live side again, with everything that was written since the cutover',
  );
}

function register(program: Command, cli: CliEnvironment, to: Side, name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .requiredOption('-c, --config <file>', 'configuration file')
    .requiredOption('--target <name>', 'which target')
    .option(
      '--time-box <time>',
      'how long writes may be refused before everything is undone, as 30s',
      readTime,
      TIME_BOX_MS,
    )
    .option('--terminate', 'ends sessions whose transactions keep the fence from closing', false)
    .option('--dry-run', 'goes through the same steps and only says what each would do', false)
    .option('--yes', 'does not ask', false)
    .option('--json', 'one JSON document on standard output', false)
    .action(async (options: CutoverOptions) => {
      const config = await readShapedConfig(options.config, cli.env);
      requireOwnSource(config, name);
      const target = findTarget(config, options.target);
      const { runSwitchCommand } = await import('./migration/switch-command.ts');
      const request = {
        to,
        timeBoxMs: options.timeBox,
        wayBack: options.wayBack ?? true,
        terminates: options.terminate,
        verifiedWithinMs: options.verifiedWithin ?? DAY_MS,
        isDryRun: options.dryRun,
        isConfirmed: options.yes,
        json: options.json,
      };
      await runSwitchCommand(config, target, request, makeLogger(cli.env, cli.isTerminal), cli);
    });
}

const UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const;

/** Milliseconds. */
function readTime(text: string): number {
  const [, amount = '', unit = ''] = /^(\d{1,7})(ms|s|m|h)$/.exec(text) ?? [];
  const ms = Number(amount) * (unit in UNITS ? UNITS[unit as keyof typeof UNITS] : 0);
  if (!(ms >= 100 && ms < 2 ** 31)) throw new InvalidArgumentError('write it as 500ms, 30s, 5m or 24h.');
  return ms;
}
