import { escapeHtml } from '../../services/cli/escape-html.ts';
import { htmlPage } from '../../services/cli/html-page.ts';
import { rateOf, type RunResult } from './result.ts';

const WIDTH = 900;
const LABEL = 330;
const ROW = 26;
const BAR = 18;
const COLOURS: Readonly<Record<string, string>> = {
  producer: '#2f7ed8',
  transformer: '#8e44ad',
  sink: '#16a085',
  broker: '#7f8c8d',
  source: '#d4a017',
  target: '#c0392b',
};

/** A page without scripts: how fast each run was, and who used the processor for it. */
export function drawResults(versions: string, results: readonly RunResult[]): string {
  const rates = results.filter(({ unit }) => unit !== 'seconds').map((it) => ({ ...it, value: rateOf(it) }));
  const units = [...new Set(rates.map(({ unit }) => unit))];
  const charts = units.map((unit) => {
    const rows = rates.filter((it) => it.unit === unit);
    const bars = rows.map((it) => ({ label: labelOf(it), parts: [{ name: 'sink', value: it.value }] }));
    return `<h2>${unit} a second</h2>${drawBars(bars, (value) => Math.round(value).toLocaleString('en'))}`;
  });
  const used = rates.map((it) => ({
    label: labelOf(it),
    parts: Object.entries(it.figures.processor).map(([name, seconds]) => ({ name, value: (seconds * 1e6) / it.count })),
  }));
  const legend = Object.entries(COLOURS).map(([name, colour]) => `<span style="color:${colour}">■ ${name}</span>`);
  const others = results.flatMap((it) =>
    Object.entries(it.more ?? {}).map(
      ([name, value]) => `<li>${labelOf(it)}: ${value.toFixed(1)} ${escapeHtml(name)}</li>`,
    ),
  );
  return htmlPage(
    "Restage's benchmarks",
    `<h1>Restage's benchmarks</h1><p>${escapeHtml(versions)}. Every run ended with a proof that source and target are equal.</p>
${charts.join('\n')}
<h2>Processor time, µs each</h2><p>${legend.join(' ')}</p>${drawBars(used, (value) => value.toFixed(1))}
${others.length === 0 ? '' : `<h2>Further figures</h2><ul>${others.join('')}</ul>`}`,
  );
}

interface Bar {
  readonly label: string;
  readonly parts: readonly { readonly name: string; readonly value: number }[];
}

function drawBars(bars: readonly Bar[], print: (value: number) => string): string {
  const wholes = bars.map(({ parts }) => parts.reduce((sum, { value }) => sum + value, 0));
  const most = Math.max(...wholes, Number.MIN_VALUE);
  const scale = (WIDTH - LABEL - 90) / most;
  const rows = bars.map(({ label, parts }, at) => {
    const y = at * ROW;
    let x = LABEL;
    const drawn = parts.map(({ name, value }) => {
      const rect = `<rect x="${x.toFixed(1)}" y="${y}" width="${(value * scale).toFixed(1)}" height="${BAR}" fill="${COLOURS[name] ?? '#555'}"><title>${name}: ${print(value)}</title></rect>`;
      x += value * scale;
      return rect;
    });
    const whole = `<text x="${(x + 6).toFixed(1)}" y="${y + 14}">${print(wholes[at] ?? 0)}</text>`;
    return `<text x="${LABEL - 8}" y="${y + 14}" text-anchor="end">${label}</text>${drawn.join('')}${whole}`;
  });
  return `<svg role="img" viewBox="0 0 ${WIDTH} ${bars.length * ROW}" width="100%">${rows.join('')}</svg>`;
}

function labelOf(result: RunResult): string {
  return escapeHtml(`${result.case}: ${result.variant}`);
}
