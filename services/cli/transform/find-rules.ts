import type { Config, OutputConfig } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import { findOutput } from '#core/output-ref.ts';
import { checkOutput } from '../config-file.ts';

/** The output that a name means, or the only one. @throws RestageError usage. */
export function outputOf(config: Config, name: string | undefined, where: string): OutputConfig {
  const [only, ...others] = config.outputs;
  if (name === undefined && only !== undefined && others.length === 0) return only;
  if (name !== undefined) checkOutput(config, name);
  const output = name === undefined ? undefined : findOutput(config.outputs, name);
  if (output !== undefined) return output;
  throw new RestageError('usage', 'which output is not said', {
    where,
    fix: only === undefined ? 'the configuration has no outputs' : 'give its name, or NAME@VERSION',
  });
}
