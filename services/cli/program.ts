import { Command } from 'commander';
import { registerAccept } from './accept.ts';
import { registerCheck } from './check.ts';
import { registerComplete } from './complete.ts';
import { registerCutover } from './cutover.ts';
import { registerDemo } from './demo.ts';
import { registerDev } from './dev.ts';
import { registerDlq } from './dlq.ts';
import type { CliEnvironment } from './environment.ts';
import { reportError } from './exit.ts';
import { registerGlobals } from './globals.ts';
import { registerPause } from './pause.ts';
import { registerKeeper } from './keeper.ts';
import { registerProducer } from './producer.ts';
import { registerRehearse, registerReset } from './rehearse.ts';
import { registerRepair } from './repair.ts';
import { registerReplay } from './replay.ts';
import { registerReport } from './report.ts';
import { registerReverse } from './reverse.ts';
import { registerRun } from './run.ts';
import { registerSchema } from './schema-copy.ts';
import { registerSequences } from './sequences.ts';
import { registerSink } from './sink.ts';
import { registerSnapshot } from './snapshot.ts';
import { registerStatus } from './status.ts';
import { registerTeardown } from './teardown.ts';
import { registerTransform } from './transform.ts';
import { registerTransformer } from './transformer.ts';
import { registerTypes } from './types.ts';
import { registerVerify } from './verify.ts';
import { registerWait } from './wait.ts';

const COMMANDS = [
  registerCheck,
  registerRun,
  registerProducer,
  registerTransform,
  registerTransformer,
  registerSink,
  registerStatus,
  registerWait,
  registerVerify,
  registerRepair,
  registerReplay,
  registerReport,
  registerRehearse,
  registerReset,
  registerPause,
  registerSnapshot,
  registerAccept,
  registerSchema,
  registerGlobals,
  registerSequences,
  registerReverse,
  registerCutover,
  registerComplete,
  registerTypes,
  registerDlq,
  registerTeardown,
  registerDev,
  registerDemo,
  registerKeeper,
];

/** The whole command line. */
export function makeProgram(cli: CliEnvironment, version: string): Command {
  const program = new Command('restage')
    .description('Moves live PostgreSQL databases through Kafka: capture, reshape, replay, prove, switch.')
    .version(version)
    .addHelpText(
      'after',
      '\nExit codes: 0 done, 1 a negative answer, 2 wrong usage or configuration, 3 unreachable, 4 a fault that needs a person.',
    );
  // Commands copy these settings when they are added, so they come first.
  program.exitOverride().configureOutput({ writeOut: cli.out, writeErr: cli.err }).showSuggestionAfterError();
  for (const register of COMMANDS) register(program, cli);
  return program;
}

/** Runs one command; every error is said once and becomes an exit code. `args` without node and script. */
export async function runProgram(program: Command, args: readonly string[], cli: CliEnvironment): Promise<void> {
  try {
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    cli.setExitCode(reportError(error, cli.err));
  }
}
