import type { ParsedConfig } from '#core/config-parse.ts';
import { OPTIONS, type OptionPath, type OptionValue } from '#core/option-table.ts';

/** Reads checked values by their path in the table, with defaults in. */
export class OptionReader {
  readonly #parsed: ParsedConfig;

  constructor(parsed: ParsedConfig) {
    this.#parsed = parsed;
  }

  /** `indexes` stand for the path's `[]`, in order, and names for a `*` that is not its end. A value that had a problem reads as its default. */
  get<P extends OptionPath>(path: P, ...indexes: readonly (number | string)[]): OptionValue<P> {
    const value = this.#parsed.values.get(concrete(path, indexes));
    if (value !== undefined) return value as OptionValue<P>;
    return OPTIONS.find((option) => option.path === path)?.default as OptionValue<P>;
  }

  count(
    path:
      | 'source.columns[]'
      | 'transform.outputs[]'
      | 'transform.outputs[].rules[]'
      | 'transform.outputs[].rules[].set[]'
      | 'transform.outputs[].rules[].lookUp[]'
      | 'transform.outputs[].validate[]'
      | 'targets[]',
    ...indexes: readonly number[]
  ): number {
    const open = concrete(path.slice(0, -2), indexes);
    return this.#parsed.counts.get(`${open}[]`) ?? 0;
  }

  /** The keys that the user chose for a map whose entries have options of their own; `path` ends in `*`. */
  keys(path: string, ...indexes: readonly (number | string)[]): readonly string[] {
    return this.#parsed.keys.get(concrete(path, indexes)) ?? [];
  }

  /** Whether the file or the environment says something at this concrete path, or below it. */
  isGiven(path: string): boolean {
    return [...this.#parsed.places.keys()].some((place) => place === path || place.startsWith(`${path}.`));
  }

  /** Where the file says it: its name, line and column. */
  placeOf(path: OptionPath, ...indexes: readonly (number | string)[]): string | undefined {
    return this.#parsed.places.get(concrete(path, indexes));
  }

  /** As isGiven, by a path of the table. */
  isGivenAt(path: OptionPath, indexes: readonly (number | string)[]): boolean {
    return this.isGiven(concrete(path, indexes));
  }

  report(path: OptionPath, indexes: readonly (number | string)[], what: string): void {
    const at = concrete(path, indexes);
    this.#parsed.problems.push(`${this.#parsed.places.get(at) ?? at}: ${at}: ${what}`);
  }
}

function concrete(path: string, indexes: readonly (number | string)[]): string {
  let next = 0;
  return path.replaceAll(/\[\]|\*(?=\.|$)/g, (place) => {
    const index = indexes[next++];
    if (place === '*') return index === undefined ? '*' : String(index);
    return `[${index ?? 0}]`;
  });
}
