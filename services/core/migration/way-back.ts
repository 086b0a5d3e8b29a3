import { createHash } from 'node:crypto';
import type { Config, TargetConfig } from '#core/config.ts';
import { findOutput } from '#core/output-ref.ts';
import { shapeTables } from '#core/rules/shape-tables.ts';
import type { TableStructure } from '#core/structure.ts';
import type { TableName } from '#core/table-name.ts';
import { invertRules, type LostTable } from './inverse-rules.ts';

/** The pipeline from a target to the source, which keeps the source current once the target is live. */
export interface WayBack {
  readonly config: Config;
  /** Its only target: the old source. */
  readonly target: TargetConfig;
  /** The tables at the target of the migration. */
  readonly tables: readonly TableName[];
  readonly lost: readonly LostTable[];
}

const LONGEST_SLOT = 63;
const OUTPUT = 'back';

/** `tables`: those of the source that the pipeline captures. @throws RestageError rule_invalid. */
export function wayBackOf(config: Config, target: TargetConfig, tables: readonly TableStructure[]): WayBack {
  const output = findOutput(config.outputs, target.output);
  const { rules, lost } = invertRules(tables, output);
  const shaped = shapeTables(tables, output).map(({ schema, table }) => ({ schema, table }));
  const name = `${config.name}-back-${target.name}`;
  const ownName = ownNameOf(name);
  const { columns: _columns, ...source } = config.source;
  const back: TargetConfig = {
    name: 'source',
    url: config.source.url,
    output: rules.length === 0 ? null : OUTPUT,
    schema: 'require',
    loadWorkers: 1,
  };
  return {
    config: {
      ...config,
      name,
      source: {
        ...source,
        url: target.url,
        tables: shaped.map(patternOf),
        slot: ownName,
        publication: ownName,
        profile: null,
        keepSnapshotMinutes: 0,
        isBaseline: true,
      },
      outputs: rules.length === 0 ? [] : [{ name: OUTPUT, version: 1, rules }],
      targets: [back],
      http: { ...config.http, port: 0 },
    },
    target: back,
    tables: shaped,
    lost,
  };
}

/** Names of a pipeline that Restage makes beside the configured one: within what a slot's name may have. */
export function ownNameOf(pipeline: string): string {
  return fit(`restage_${pipeline.replaceAll('-', '_')}`);
}

/** A slot's name may be no longer (PostgreSQL: NAMEDATALEN). */
function fit(name: string): string {
  if (name.length <= LONGEST_SLOT) return name;
  const hash = createHash('sha256').update(name).digest('hex').slice(0, 12);
  return `${name.slice(0, LONGEST_SLOT - 13)}_${hash}`;
}

/** A pattern that means this table; a character of its name that patterns read otherwise is any one there. */
export function patternOf({ schema, table }: TableName): string {
  return `${schema}.${table}`.replaceAll('*', '?').replace(/^!/, '?');
}
