import { writeJunit } from '#core/fixtures/junit.ts';
import type { BudgetResult, RehearsalReport } from '#core/rehearsal/rehearsal-report.ts';
import { escapeHtml } from '../escape-html.ts';
import { htmlPage, htmlTable, spanChart, type HtmlCell } from '../html-page.ts';
import { switchSection } from '../report/report-html.ts';
import { formatColumns } from '../table-text.ts';

/** For people. */
export function formatRehearsal(report: RehearsalReport): string {
  const steps = report.steps.map(({ name, seconds, ok, says }) => [
    name,
    ok ? 'done' : 'FAILED',
    `${seconds.toFixed(1)} s`,
    says.split('\n')[0] ?? '',
  ]);
  const budgets = report.budgets.map((budget) => `${describeBudget(budget)}\n`).join('');
  const left = report.leftOut.map((what) => `not rehearsed: ${what}\n`).join('');
  return `${formatColumns(['step', '', 'time', 'what'], steps)}\n${budgets}${left}rehearsal ${report.verdict}\n`;
}

function describeBudget({ name, limitSeconds, seconds, ok }: BudgetResult): string {
  const taken = Number.isFinite(seconds) ? `${seconds.toFixed(1)} s` : 'never done';
  return `${name}: ${taken} of ${limitSeconds} s${ok ? '' : ', over it'}`;
}

/** A case for each step and each budget. */
export function rehearsalJunit({ pipeline, target, steps, budgets }: RehearsalReport): string {
  const place = `${pipeline}, target ${target}`;
  const results = [
    ...steps.map(({ name, seconds, ok, says }) => ({ name, place, seconds, diff: ok ? null : says })),
    ...budgets.map((budget) => ({
      name: budget.name,
      place,
      seconds: 0,
      diff: budget.ok ? null : describeBudget(budget),
    })),
  ];
  return writeJunit('restage rehearse', [{ file: `rehearsal of ${place}`, results }]);
}

/** One file, which loads nothing. */
export function rehearsalHtml(report: RehearsalReport): string {
  const { pipeline, target, output, startedAt, driver, baseline, steps, budgets, verdict } = report;
  const facts: [string, string][] = [
    ['target', target],
    ['output', output ?? 'the raw topics'],
    ['begun', startedAt],
    ['clone of', `${baseline ?? 'an empty database'}, by ${driver}`],
    ...budgets.map((budget): [string, string] => ['budget', describeBudget(budget)]),
    ...report.leftOut.map((what): [string, string] => ['not rehearsed', what]),
  ];
  const rows = steps.map(({ name, seconds, ok, says }): HtmlCell[] => [
    name,
    { text: ok ? 'done' : 'failed', is: ok ? 'passed' : 'failed' },
    `${seconds.toFixed(1)} s`,
    says,
  ]);
  const spans = steps.map(({ name, seconds, ok }) => ({ name, length: seconds, label: `${seconds.toFixed(1)} s`, ok }));
  return htmlPage(
    `Rehearsal of ${pipeline}`,
    `<h1>Rehearsal of ${escapeHtml(pipeline)}: <span class="${verdict}">${verdict}</span></h1>
${htmlTable(['', ''], facts)}
<h2>Time</h2>${spanChart(spans, 'How long each step took')}
<h2>Steps</h2>${htmlTable(['step', '', 'time', 'what'], rows)}
${report.switches.map(switchSection).join('\n')}`,
  );
}
