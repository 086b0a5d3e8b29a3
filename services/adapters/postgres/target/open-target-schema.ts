import type pg from 'pg';
import type { TargetConfig } from '#core/config.ts';
import type { Failpoints } from '#core/failpoints.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import type { TargetSchema } from '#core/target-schema.ts';
import { connectPg } from '../session.ts';
import { JournalledSchema, type TableMaker } from './journalled-schema.ts';
import { SchemaBuild } from './schema-build.ts';
import { copiedTables } from './schema-copy.ts';
import { createdTables } from './schema-create.ts';
import { requiredTables } from './schema-require.ts';

export interface TargetSchemaOptions {
  readonly pipeline: string;
  readonly target: TargetConfig;
  /** The rules of the target's output, in their order; empty for raw topics. */
  readonly rules: readonly RuleConfig[];
  readonly failpoints: Failpoints;
  /** Opens the sessions that alter the target: a sink's are known as its own, so that who takes over ends them. Default: some of their own. */
  readonly connect?: () => Promise<pg.Client>;
}

/** What the journal of a target has left to do, however its tables came. */
export function openSchemaBuild(options: Omit<TargetSchemaOptions, 'rules'>): SchemaBuild {
  const { pipeline, target, failpoints, connect = connectSchema(pipeline, target) } = options;
  return new SchemaBuild({ pipeline, workers: target.loadWorkers, connect, failpoints });
}

/** The way that the configuration chose (`targets[].schema`). */
export function openTargetSchema(options: TargetSchemaOptions): TargetSchema {
  const { pipeline, target, failpoints, connect = connectSchema(pipeline, target) } = options;
  return new JournalledSchema({ pipeline, connect, failpoints }, makerOf(options), openSchemaBuild(options));
}

function makerOf({ pipeline, target, rules }: TargetSchemaOptions): TableMaker {
  switch (target.schema) {
    case 'copy':
      return copiedTables(pipeline, rules);
    case 'create':
      return createdTables;
    case 'require':
      return requiredTables;
  }
}

function connectSchema(pipeline: string, target: TargetConfig): () => Promise<pg.Client> {
  return () => connectPg({ url: target.url, purpose: 'target', application: `restage ${pipeline} schema` });
}
