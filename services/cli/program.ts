import { Command } from 'commander';
import type { CliEnvironment } from './environment.ts';
import { reportError } from './exit.ts';

type Register = (program: Command, cli: CliEnvironment) => void;

/** Commands in the order of the help, and what has them: a process loads only what it was asked for. */
const COMMANDS: readonly (readonly [names: string, load: () => Promise<Register>])[] = [
  ['check', async () => (await import('./check.ts')).registerCheck],
  ['run', async () => (await import('./run.ts')).registerRun],
  ['producer', async () => (await import('./producer.ts')).registerProducer],
  ['transform', async () => (await import('./transform.ts')).registerTransform],
  ['transformer', async () => (await import('./transformer.ts')).registerTransformer],
  ['sink', async () => (await import('./sink.ts')).registerSink],
  ['status', async () => (await import('./status.ts')).registerStatus],
  ['wait', async () => (await import('./wait.ts')).registerWait],
  ['verify', async () => (await import('./verify.ts')).registerVerify],
  ['repair', async () => (await import('./repair.ts')).registerRepair],
  ['replay', async () => (await import('./replay.ts')).registerReplay],
  ['report', async () => (await import('./report.ts')).registerReport],
  ['rehearse', async () => (await import('./rehearse.ts')).registerRehearse],
  ['reset', async () => (await import('./rehearse.ts')).registerReset],
  ['pause resume', async () => (await import('./pause.ts')).registerPause],
  ['snapshot', async () => (await import('./snapshot.ts')).registerSnapshot],
  ['accept', async () => (await import('./accept.ts')).registerAccept],
  ['schema', async () => (await import('./schema-copy.ts')).registerSchema],
  ['globals', async () => (await import('./globals.ts')).registerGlobals],
  ['sequences', async () => (await import('./sequences.ts')).registerSequences],
  ['reverse', async () => (await import('./reverse.ts')).registerReverse],
  ['cutover rollback', async () => (await import('./cutover.ts')).registerCutover],
  ['complete', async () => (await import('./complete.ts')).registerComplete],
  ['types', async () => (await import('./types.ts')).registerTypes],
  ['dlq', async () => (await import('./dlq.ts')).registerDlq],
  ['teardown', async () => (await import('./teardown.ts')).registerTeardown],
  ['dev', async () => (await import('./dev.ts')).registerDev],
  ['demo', async () => (await import('./demo.ts')).registerDemo],
  ['keeper', async () => (await import('./keeper.ts')).registerKeeper],
];
/** Asked for without a command, and answered without one. */
const VERSION_FLAGS: ReadonlySet<string> = new Set(['-V', '--version']);

/** The command line with the command that `args` begin with, or with all of them. `args` without node and script. */
export async function makeProgram(cli: CliEnvironment, version: string, args: readonly string[]): Promise<Command> {
  const program = new Command('restage')
    .description('Moves live PostgreSQL databases through Kafka: capture, reshape, replay, prove, switch.')
    .version(version)
    .addHelpText(
      'after',
      '\nExit codes: 0 done, 1 a negative answer, 2 wrong usage or configuration, 3 unreachable, 4 a fault that needs a person.',
    );
  // Commands copy these settings when they are added, so they come first.
  program.exitOverride().configureOutput({ writeOut: cli.out, writeErr: cli.err }).showSuggestionAfterError();
  for (const load of commandsFor(args)) (await load())(program, cli);
  return program;
}

function commandsFor([first = '']: readonly string[]): (() => Promise<Register>)[] {
  if (VERSION_FLAGS.has(first)) return [];
  const asked = COMMANDS.filter(([names]) => names.split(' ').includes(first));
  return (asked.length === 0 ? COMMANDS : asked).map(([, load]) => load);
}

/** Runs one command; every error is said once and becomes an exit code. `args` without node and script. */
export async function runProgram(cli: CliEnvironment, version: string, args: readonly string[]): Promise<void> {
  try {
    const program = await makeProgram(cli, version, args);
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    cli.setExitCode(reportError(error, cli.err));
  }
}
