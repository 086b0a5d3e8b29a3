import { InvalidArgumentError, Option, type Command } from 'commander';
import { SABOTAGES, type Sabotage } from './demo/sabotage.ts';
import type { CliEnvironment } from './environment.ts';

interface DemoFlags {
  readonly json: boolean;
  readonly orders: number;
  readonly seconds: number;
  readonly sabotage?: Sabotage;
}

const DEFAULT_ORDERS = 260_000;
const ORDERS_PER_CUSTOMER = 4;

export function registerDemo(program: Command, cli: CliEnvironment): void {
  program
    .command('demo')
    .description(
      'embedded Kafka and two PostgreSQL servers; a live migration, verified, rehearsed, switched and rolled back; its verdict',
    )
    .option('--json', 'one JSON document on standard output', false)
    .option('--orders <n>', 'size of the sample: orders, each with about 4.3 rows', positive, DEFAULT_ORDERS)
    .option('--seconds <n>', 'how long to follow the stream after the load, and to write on the new side', positive, 6)
    .addOption(
      new Option(
        '--sabotage <kind>',
        'only load and stream, and spoil the target before the proof, which must find it',
      ).choices(SABOTAGES),
    )
    .action(async (flags: DemoFlags) => {
      const { runDemo } = await import('./demo/demo-command.ts');
      const size = { orders: flags.orders, customers: Math.ceil(flags.orders / ORDERS_PER_CUSTOMER) };
      const { self, out, err, signal } = cli;
      cli.setExitCode(
        await runDemo({
          json: flags.json,
          signal,
          self,
          out,
          err,
          size,
          streamSeconds: flags.seconds,
          sabotage: flags.sabotage ?? null,
        }),
      );
    });
}

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value <= 0) throw new InvalidArgumentError('It must be a whole number above 0.');
  return value;
}
