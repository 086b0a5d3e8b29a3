import type { Figures } from './measure.ts';

/** One measured run of a case. */
export interface RunResult {
  readonly case: string;
  /** What of the case was run: `with a rule`, `sink alone`. */
  readonly variant: string;
  /** What is counted: row changes of the stream, rows of a load. */
  readonly unit: 'changes' | 'rows' | 'tables' | 'MB' | 'seconds';
  readonly count: number;
  readonly figures: Figures;
  /** Other figures, each with its unit in its name. */
  readonly more?: Readonly<Record<string, number>>;
}

/** Collects results; a case adds one only after its equality was proven. */
export type Report = (result: RunResult) => void;

export function rateOf({ count, figures }: RunResult): number {
  return count / figures.seconds;
}

/** One line for a person. */
export function describe(result: RunResult): string {
  const { figures, count, unit } = result;
  const micros = Object.entries(figures.processor).map(([name, s]) => `${name} ${((s * 1e6) / count).toFixed(1)}`);
  const peaks = Object.entries(figures.peaks).map(([name, bytes]) => `${name} ${Math.round(bytes / 1024 / 1024)}`);
  const more = Object.entries(result.more ?? {}).map(([name, value]) => `${name} ${value.toFixed(1)}`);
  return (
    `${result.case}, ${result.variant}: ${count} ${unit} in ${figures.seconds.toFixed(1)} s, ${rateOf(result).toFixed(unit === 'MB' ? 1 : 0)} ${unit}/s` +
    `; µs of processor time per one: ${micros.join(', ')}` +
    (peaks.length === 0 ? '' : `; peak MiB: ${peaks.join(', ')}`) +
    (more.length === 0 ? '' : `; ${more.join(', ')}`)
  );
}
