import type { Config, TargetConfig } from '#core/config.ts';
import { ownNameOf, patternOf } from '#core/migration/way-back.ts';
import { findOutput } from '#core/output-ref.ts';
import type { TableName } from '#core/table-name.ts';

export interface TrialPlaces {
  /** Stands for the source. */
  readonly standInUrl: string;
  /** Stands for the target. */
  readonly cloneUrl: string;
  /** Those of the source that the target's output takes. */
  readonly tables: readonly TableName[];
}

/**
 * The pipeline of a rehearsed switch: from a database that stands for the source to the clone, with the target's rules, and everything else
 * of its own. Both sides have the same rows when it begins, so it loads none. Nobody is told of its switches, and values are as they were
 * captured: masked ones are not masked again.
 */
export function trialPipeline(
  config: Config,
  target: TargetConfig,
  { standInUrl, cloneUrl, tables }: TrialPlaces,
): { readonly config: Config; readonly target: TargetConfig } {
  const name = `${config.name}-try-${target.name}`;
  const ownName = ownNameOf(name);
  const output = findOutput(config.outputs, target.output);
  const { columns: _columns, ...source } = config.source;
  const trial: TargetConfig = { ...target, url: cloneUrl, schema: 'require' };
  const { rehearsal: _rehearsal, ...rest } = config;
  return {
    config: {
      ...rest,
      name,
      source: {
        ...source,
        url: standInUrl,
        tables: tables.map(patternOf),
        slot: ownName,
        publication: ownName,
        profile: null,
        keepSnapshotMinutes: 0,
        // A clone is to be as its baseline again.
        ddlTrigger: 'off',
        isBaseline: true,
      },
      outputs: output === undefined ? [] : [output],
      targets: [trial],
      together: [],
      hook: null,
      http: { ...config.http, port: 0 },
    },
    target: trial,
  };
}
