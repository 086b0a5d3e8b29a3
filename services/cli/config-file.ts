import { readFile } from 'node:fs/promises';
import type { Config, TargetConfig } from '#core/config.ts';
import type { Environment } from '#core/config-expand.ts';
import { loadConfig } from '#core/config-load.ts';
import { RestageError } from '#core/errors.ts';
import { matchOutputs, outputRef } from '#core/output-ref.ts';
import { nearest } from '#core/nearest.ts';

/** @throws RestageError config_invalid, also when the file cannot be read. */
export async function readConfig(file: string, env: Environment): Promise<Config> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    const why =
      cause instanceof Error && 'code' in cause && cause.code === 'ENOENT'
        ? 'there is no such file'
        : 'it cannot be read';
    throw new RestageError('config_invalid', `no configuration: ${why}`, {
      where: file,
      fix: 'give its path with -c FILE',
      cause,
    });
  }
  return loadConfig(text, file, env);
}

/** The same with what modules say of their tables, for whoever asks for the shape of outputs. @throws RestageError config_invalid, rule_invalid. */
export async function readShapedConfig(file: string, env: Environment): Promise<Config> {
  const config = await readConfig(file, env);
  if (config.outputs.every(({ module = null }) => module === null)) return config;
  const { declareModules } = await import('#adapters/module/open-module.ts');
  return declareModules(config);
}

/** Where Debezium reads the source, nothing here knows it. @throws RestageError usage. */
export function requireOwnSource(config: Config, what: string): void {
  if ((config.source.debezium ?? null) === null) return;
  throw new RestageError('usage', `${what} needs the source itself, and this pipeline reads Debezium's topics`, {
    where: `${config.file}: source.debezium`,
    fix: 'use it in a pipeline with source.postgres; docs/debezium.md says what there is for topics of Debezium',
  });
}

/** @throws RestageError usage when the configuration has no such target. */
export function findTarget(config: Config, name: string): TargetConfig {
  const target = config.targets.find((candidate) => candidate.name === name);
  if (target !== undefined) return target;
  throw unknownName(
    'target',
    name,
    config.targets.map((candidate) => candidate.name),
    config.file,
  );
}

/** @throws RestageError usage when the configuration has no such output. */
export function checkOutput(config: Config, name: string): void {
  if (matchOutputs(config.outputs, name).length > 0) return;
  const names = config.outputs.map((output) => outputRef(config.outputs, output));
  throw unknownName('output', name, names, config.file);
}

function unknownName(what: string, name: string, known: readonly string[], file: string): RestageError {
  const close = nearest(name, known);
  const fix = close === null ? `${what}s: ${known.join(', ') || 'none'}` : `did you mean "${close}"?`;
  return new RestageError('usage', `no ${what} is named "${name}"`, { where: file, fix });
}
