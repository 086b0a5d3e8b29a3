import { InvalidArgumentError, type Command } from 'commander';
import type { CliEnvironment } from './environment.ts';

interface UpOptions {
  readonly dir?: string;
  readonly registry: boolean;
  readonly postgres: number;
  readonly json: boolean;
}

export function registerDev(program: Command, cli: CliEnvironment): void {
  const dev = program.command('dev').description('servers for development, on 127.0.0.1, with throw-away data');
  dev
    .command('up')
    .description('starts an embedded Kafka and more on request; prints addresses')
    .option('--dir <folder>', 'where their data goes')
    .option('--registry', 'a schema registry too', false)
    .option('--postgres <number>', 'so many PostgreSQL servers too', readNumber, 0)
    .option('--json', 'one JSON document on standard output', false)
    .action(async (options: UpOptions) => {
      const { startDevServers } = await import('./dev-servers.ts');
      const wanted = { dir: options.dir, hasRegistry: options.registry, postgres: options.postgres };
      const { addresses } = await startDevServers(wanted, (line) => cli.err(`${line}\n`));
      const registry = addresses.registry === null ? [] : [`registry  ${addresses.registry}`];
      const lines = [
        `kafka     ${addresses.kafka}`,
        ...registry,
        ...addresses.postgres.map((url) => `postgres  ${url}`),
      ];
      cli.out(options.json ? `${JSON.stringify(addresses)}\n` : `${lines.join('\n')}\n`);
    });
  dev
    .command('down')
    .description('stops them and removes their data')
    .option('--dir <folder>', 'as given to dev up')
    .option('--json', 'one JSON document on standard output', false)
    .action(async (options: { dir?: string; json: boolean }) => {
      const { stopDevServers } = await import('./dev-servers.ts');
      const stopped = await stopDevServers(options.dir);
      cli.out(
        options.json
          ? `${JSON.stringify({ stopped })}\n`
          : `${stopped === 0 ? 'nothing was running' : `${stopped} stopped`}\n`,
      );
    });
}

function readNumber(text: string): number {
  if (!/^\d$/.test(text)) throw new InvalidArgumentError('a number from 0 to 9 is needed.');
  return Number(text);
}
