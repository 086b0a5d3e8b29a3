import { escapeHtml } from './escape-html.ts';

const STYLE = `body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem;color:#1c2530}
table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}td,th{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #dde3ea;vertical-align:top;white-space:pre-line;overflow-wrap:anywhere}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}code{font:12px ui-monospace,monospace}
.passed,.equal{color:#0a7d3c}.failed,.block,.different,.unverified{color:#b3261e}.warn{color:#9a5b00}text{font:12px system-ui,sans-serif;fill:#1c2530}`;

/** One file, which loads nothing. `body` is HTML already. */
export function htmlPage(title: string, body: string): string {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${escapeHtml(title)}</title><style>${STYLE}</style>
${body}</html>
`;
}

/** A cell: text, a number to the right, or a text of a class of the style. */
export type HtmlCell = string | number | { readonly text: string; readonly is: string };

export function htmlTable(head: readonly string[], rows: readonly (readonly HtmlCell[])[]): string {
  const numbers = head.map((_, column) => rows.length > 0 && rows.every((row) => typeof row[column] === 'number'));
  const cell = (value: HtmlCell): string => {
    if (typeof value === 'number') return `<td class="n">${value.toLocaleString('en')}</td>`;
    if (typeof value === 'string') return `<td>${escapeHtml(value)}</td>`;
    return `<td class="${escapeHtml(value.is)}">${escapeHtml(value.text)}</td>`;
  };
  const names = head.map((name, at) => `<th${numbers[at] === true ? ' class="n"' : ''}>${escapeHtml(name)}</th>`);
  const headRow = head.every((name) => name === '') ? '' : `<tr>${names.join('')}</tr>`;
  return `<table>${headRow}${rows.map((row) => `<tr>${row.map(cell).join('')}</tr>`).join('\n')}</table>`;
}

/** Something that took a while, and what its time is called. */
export interface Span {
  readonly name: string;
  readonly length: number;
  readonly label: string;
  readonly ok: boolean;
}

const WIDTH = 900;
const BAR = 22;

/** Each a bar, from where the one before ended. */
export function spanChart(spans: readonly Span[], title: string): string {
  const whole = spans.reduce((sum, { length }) => sum + length, 0) || 1;
  let before = 0;
  const bars = spans.map(({ name, length, label, ok }, at) => {
    const x = 100 + (before / whole) * (WIDTH - 180);
    const width = Math.max(2, (length / whole) * (WIDTH - 180));
    before += length;
    const y = at * (BAR + 6);
    return `<text x="0" y="${y + 15}">${escapeHtml(name)}</text><rect x="${x.toFixed(1)}" y="${y}" width="${width.toFixed(1)}" height="${BAR}" rx="3" fill="${ok ? '#2f7ed8' : '#b3261e'}"/><text x="${(x + width + 6).toFixed(1)}" y="${y + 15}">${escapeHtml(label)}</text>`;
  });
  return `<svg role="img" aria-label="${escapeHtml(title)}" viewBox="0 0 ${WIDTH} ${spans.length * (BAR + 6)}" width="100%">${bars.join('')}</svg>`;
}

const HEIGHT = 180;

/** Columns side by side; the axis says the most, the first and the last. */
export function columnChart(values: readonly number[], title: string, ends: readonly [string, string]): string {
  const most = Math.max(1, ...values);
  const width = (WIDTH - 80) / Math.max(1, values.length);
  const columns = values.map((value, at) => {
    const height = (value / most) * HEIGHT;
    return `<rect x="${(80 + at * width).toFixed(1)}" y="${(10 + HEIGHT - height).toFixed(1)}" width="${Math.max(1, width - 1).toFixed(1)}" height="${height.toFixed(1)}" fill="#2f7ed8"/>`;
  });
  const labels = `<text x="0" y="20">${Math.round(most).toLocaleString('en')}</text><text x="0" y="${HEIGHT + 10}">0</text><text x="80" y="${HEIGHT + 28}">${escapeHtml(ends[0])}</text><text x="${WIDTH}" y="${HEIGHT + 28}" text-anchor="end">${escapeHtml(ends[1])}</text>`;
  return `<svg role="img" aria-label="${escapeHtml(title)}" viewBox="0 0 ${WIDTH} ${HEIGHT + 36}" width="100%">${columns.join('')}${labels}</svg>`;
}
