import type { ParsedConfig } from '#core/config-parse.ts';
import { OPTIONS, type OptionPath, type OptionValue } from '#core/option-table.ts';

/** Reads checked values by their path in the table, with defaults in. */
export class OptionReader {
  readonly #parsed: ParsedConfig;

  constructor(parsed: ParsedConfig) {
    this.#parsed = parsed;
  }

  /** `indexes` stand for the path's `[]`, in order. A value that had a problem reads as its default. */
  get<P extends OptionPath>(path: P, ...indexes: readonly number[]): OptionValue<P> {
    const value = this.#parsed.values.get(concrete(path, indexes));
    if (value !== undefined) return value as OptionValue<P>;
    return OPTIONS.find((option) => option.path === path)?.default as OptionValue<P>;
  }

  count(
    path: 'transform.outputs[]' | 'transform.outputs[].rules[]' | 'targets[]',
    ...indexes: readonly number[]
  ): number {
    const open = concrete(path.slice(0, -2), indexes);
    return this.#parsed.counts.get(`${open}[]`) ?? 0;
  }

  /** Whether the file or the environment says something at this concrete path, or below it. */
  isGiven(path: string): boolean {
    return [...this.#parsed.places.keys()].some((place) => place === path || place.startsWith(`${path}.`));
  }

  report(path: OptionPath, indexes: readonly number[], what: string): void {
    const at = concrete(path, indexes);
    this.#parsed.problems.push(`${this.#parsed.places.get(at) ?? at}: ${at}: ${what}`);
  }
}

function concrete(path: string, indexes: readonly number[]): string {
  let next = 0;
  return path.replaceAll('[]', () => `[${indexes[next++] ?? 0}]`);
}
