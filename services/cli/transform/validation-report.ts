import { writeFile } from 'node:fs/promises';
import type { Config } from '#core/config.ts';
import { statusKey } from '#core/control.ts';
import type { ExitCode } from '#core/error-policy.ts';
import type { Logger } from '#core/log.ts';
import { outputRef } from '#core/output-ref.ts';
import type { ValidationFigures } from '#core/validation-figures.ts';
import type { CliEnvironment } from '../environment.ts';
import { escapeHtml } from '../escape-html.ts';
import { htmlPage, htmlTable, type HtmlCell } from '../html-page.ts';
import { readRecords } from '../status-report.ts';
import { formatColumns } from '../table-text.ts';

export interface ReportOptions {
  readonly json: boolean;
  /** A file for the page; absent: none. */
  readonly html?: string;
}

const HEAD = ['check', 'on failure', 'passed', 'failed', 'first examples'];

interface OutputReport {
  readonly output: string;
  /** ISO 8601; null where its transformer was never heard. */
  readonly since: string | null;
  /** Milliseconds since its transformer said so. */
  readonly ageMs: number | null;
  readonly checks: ValidationFigures['checks'];
}

/** What the checks of every output found since its transformer started; 1 when some row did not pass. */
export async function runReport(
  config: Config,
  options: ReportOptions,
  cli: CliEnvironment,
  logger: Logger,
): Promise<ExitCode> {
  const { services } = await readRecords(config, logger);
  const reports = config.outputs
    .filter(({ validations = [] }) => validations.length > 0)
    .map((output): OutputReport => {
      const ref = outputRef(config.outputs, output);
      const record = services.get(statusKey('transformer', ref));
      const figures = record?.status.validation ?? null;
      return {
        output: ref,
        since: figures === null ? null : new Date(figures.since).toISOString(),
        ageMs: record === undefined ? null : Date.now() - record.at,
        checks: figures?.checks ?? [],
      };
    });
  if (options.html !== undefined) await writeFile(options.html, page(config.name, reports));
  cli.out(options.json ? `${JSON.stringify({ name: config.name, outputs: reports })}\n` : describe(reports));
  return reports.some(({ checks }) => checks.some(({ failed }) => failed > 0)) ? 1 : 0;
}

function describe(reports: readonly OutputReport[]): string {
  if (reports.length === 0) return 'no output has checks (transform.outputs[].validate)\n';
  return reports
    .map(({ output, since, checks }) => {
      if (since === null) return `${output}: its transformer has not said anything yet\n`;
      const rows = checks.map(({ name, onFailure, passed, failed }) => [name, onFailure, passed, failed]);
      const examples = checks.flatMap(({ name, examples: some }) => some.map((one) => `  ${name}: ${one}\n`));
      return `${output}, since ${since}\n${formatColumns(['check', 'on failure', 'passed', 'failed'], rows)}${examples.join('')}`;
    })
    .join('\n');
}

/** A page that needs nothing else. Everything from a configuration or a row is escaped. */
function page(name: string, reports: readonly OutputReport[]): string {
  const body = reports.map(({ output, since, checks }) => {
    const rows = checks.map(({ name: check, onFailure, passed, failed, examples }): HtmlCell[] => [
      { text: check, is: failed > 0 ? 'failed' : 'passed' },
      onFailure,
      passed,
      failed,
      examples.join('\n'),
    ]);
    const when = since === null ? 'its transformer has not said anything yet' : `since ${since}`;
    return `<h2>${escapeHtml(output)}</h2><p>${when}</p>${htmlTable(HEAD, rows)}`;
  });
  const title = `${name}: checks`;
  return htmlPage(title, `<h1>${escapeHtml(title)}</h1>${body.join('')}`);
}
