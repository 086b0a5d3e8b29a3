import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Command } from 'commander';
import { findTarget, readShapedConfig, requireOwnSource } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';
import { makeLogger } from './logger.ts';

interface ReportFlags {
  readonly config: string;
  readonly target: string;
  readonly out: string;
  readonly json: boolean;
}

export function registerReport(program: Command, cli: CliEnvironment): void {
  program
    .command('report')
    .description(
      'all that is known of a migration, as one page and as JSON: plan, checks, structure, proof, switches, audit',
    )
    .requiredOption('-c, --config <file>', 'configuration file')
    .requiredOption('--target <name>', 'which target')
    .option('--out <directory>', 'where migration.html and migration.json are written', 'report')
    .option('--json', 'the JSON document on standard output too', false)
    .action(async (flags: ReportFlags) => {
      const config = await readShapedConfig(flags.config, cli.env);
      requireOwnSource(config, 'report');
      const target = findTarget(config, flags.target);
      const [{ collectReport }, { reportHtml }] = await Promise.all([
        import('./report/collect-report.ts'),
        import('./report/report-html.ts'),
      ]);
      const report = await collectReport(config, target, makeLogger(cli.env, cli.isTerminal));
      const page = path.join(flags.out, 'migration.html');
      await mkdir(flags.out, { recursive: true });
      await writeFile(page, reportHtml(report));
      await writeFile(path.join(flags.out, 'migration.json'), `${JSON.stringify(report, null, 2)}\n`);
      if (flags.json) cli.out(`${JSON.stringify(report)}\n`);
      else cli.out(`${page}: ${report.phase}, the ${report.live} is live, ${report.risks.length} open risks\n`);
    });
}
