import { writeJunit } from '#core/fixtures/junit.ts';
import type { BudgetResult, RehearsalReport, RehearsalStep } from '#core/rehearsal/rehearsal-report.ts';
import { escapeHtml } from '../escape-html.ts';
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
  return `${formatColumns(['step', '', 'time', 'what'], steps)}\n${budgets}rehearsal ${report.verdict}\n`;
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

const STYLE = `body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1c2530}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #dde3ea;vertical-align:top;white-space:pre-line}
.passed{color:#0a7d3c}.failed{color:#b3261e}text{font:12px system-ui,sans-serif}`;

/** One file, which loads nothing. */
export function rehearsalHtml(report: RehearsalReport): string {
  const { pipeline, target, output, startedAt, driver, baseline, steps, budgets, verdict } = report;
  const facts: [string, string][] = [
    ['target', target],
    ['output', output ?? 'the raw topics'],
    ['begun', startedAt],
    ['clone of', `${baseline ?? 'an empty database'}, by ${driver}`],
    ...budgets.map((budget): [string, string] => ['budget', describeBudget(budget)]),
  ];
  const rows = steps.map(
    ({ name, seconds, ok, says }) =>
      `<tr><td>${name}</td><td class="${ok ? 'passed' : 'failed'}">${ok ? 'done' : 'failed'}</td><td>${seconds.toFixed(1)} s</td><td>${escapeHtml(says)}</td></tr>`,
  );
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>Rehearsal of ${escapeHtml(pipeline)}</title><style>${STYLE}</style>
<h1>Rehearsal of ${escapeHtml(pipeline)}: <span class="${verdict}">${verdict}</span></h1>
<table>${facts.map(([name, value]) => `<tr><th>${name}</th><td>${escapeHtml(value)}</td></tr>`).join('')}</table>
<h2>Time</h2>${timeline(steps)}
<h2>Steps</h2><table><tr><th>step</th><th></th><th>time</th><th>what</th></tr>${rows.join('\n')}</table></html>
`;
}

const WIDTH = 900;
const BAR = 22;

/** Each step a bar, from where the one before ended. */
function timeline(steps: readonly RehearsalStep[]): string {
  const whole = steps.reduce((sum, { seconds }) => sum + seconds, 0) || 1;
  let before = 0;
  const bars = steps.map(({ name, seconds, ok }, at) => {
    const x = 100 + (before / whole) * (WIDTH - 180);
    const width = Math.max(2, (seconds / whole) * (WIDTH - 180));
    before += seconds;
    const y = at * (BAR + 6);
    return `<text x="0" y="${y + 15}">${name}</text><rect x="${x.toFixed(1)}" y="${y}" width="${width.toFixed(1)}" height="${BAR}" rx="3" fill="${ok ? '#2f7ed8' : '#b3261e'}"/><text x="${(x + width + 6).toFixed(1)}" y="${y + 15}">${seconds.toFixed(1)} s</text>`;
  });
  return `<svg role="img" aria-label="How long each step took" viewBox="0 0 ${WIDTH} ${steps.length * (BAR + 6)}" width="100%">${bars.join('')}</svg>`;
}
