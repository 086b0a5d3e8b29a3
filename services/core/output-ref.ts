import type { Config, OutputConfig } from '#core/config.ts';
import { shapedPrefix } from '#core/topic-names.ts';

type Outputs = readonly OutputConfig[];
type Named = Pick<OutputConfig, 'name' | 'version'>;

/** An output's name, or one of its versions. */
export const OUTPUT_REF = /^[a-z][a-z0-9_-]{0,39}(@[1-9]\d{0,3})?$/;

/** `main@2`: one version of an output. */
export function versionedRef({ name, version }: Named): string {
  return `${name}@${version}`;
}

/** How people name an output: `main`, and `main@2` where there are several versions of it. */
export function outputRef(outputs: readonly Named[], output: Named): string {
  return outputs.filter(({ name }) => name === output.name).length > 1 ? versionedRef(output) : output.name;
}

/** The outputs that a name means: all versions of `main`, or the one that `main@2` says. */
export function matchOutputs(outputs: Outputs, ref: string): OutputConfig[] {
  return outputs.filter((output) => output.name === ref || versionedRef(output) === ref);
}

/** The one output that a name means; undefined for none (raw topics) and where it does not say which. */
export function findOutput(outputs: Outputs, ref: string | null): OutputConfig | undefined {
  const [only, ...others] = ref === null ? [] : matchOutputs(outputs, ref);
  return others.length === 0 ? only : undefined;
}

/** The stream of epochs that a target reads: `<name>`, or `<name>.shaped.<output>.v<N>`. */
export function prefixOf({ name, outputs }: Pick<Config, 'name' | 'outputs'>, ref: string | null): string {
  const output = findOutput(outputs, ref);
  return output === undefined ? name : shapedPrefix(name, output.name, output.version);
}
