import { writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { RestageError } from '#core/errors.ts';
import { readConfig, requireOwnSource } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';

export function registerTypes(program: Command, cli: CliEnvironment): void {
  program
    .command('types')
    .description("writes the captured tables' row types as TypeScript, for the module of an output")
    .requiredOption('-c, --config <file>', 'configuration file')
    .option('--out <file>', 'where to; standard output by default')
    .action(async (options: { config: string; out?: string }) => {
      const config = await readConfig(options.config, cli.env);
      requireOwnSource(config, 'types');
      const [{ readChosen }, { makeRowTypes }] = await Promise.all([
        import('./schema-command.ts'),
        import('#core/module/row-types.ts'),
      ]);
      const text = makeRowTypes(await readChosen(config));
      if (options.out === undefined) cli.out(text);
      else await write(options.out, text);
    });
}

async function write(file: string, text: string): Promise<void> {
  try {
    await writeFile(file, text);
  } catch (cause) {
    throw new RestageError('usage', 'the types cannot be written', {
      where: file,
      cause,
      fix: 'give a path with --out',
    });
  }
}
