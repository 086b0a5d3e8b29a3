import type pg from 'pg';
import { readChosenTables } from '#adapters/postgres/catalog.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { majorOf } from '#adapters/postgres/target/structure-archive.ts';
import { findOutput } from '#core/output-ref.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import { shapeSoundTables } from '#core/rules/shape-tables.ts';
import type { TableStructure } from '#core/structure.ts';

export interface CheckedTarget {
  readonly config: TargetConfig;
  readonly client: pg.Client;
  readonly major: number;
  readonly role: string;
  /** The chosen tables as they are to be at this target. */
  readonly tables: readonly TableStructure[];
}

/** What checks read; sessions are open for the time of one `restage check`. */
export interface CheckContext {
  readonly config: Config;
  readonly source: pg.Client;
  readonly sourceMajor: number;
  readonly sourceRole: string;
  readonly tables: readonly TableStructure[];
  readonly targets: readonly CheckedTarget[];
}

const STATEMENT_TIMEOUT = '60s';

/**
 * Opens source and targets, runs the work and closes them.
 * @throws RestageError source_unreachable, source_auth, target_unreachable, target_auth or table_not_found.
 */
export async function withCheckContext<T>(config: Config, work: (context: CheckContext) => Promise<T>): Promise<T> {
  const open: pg.Client[] = [];
  const connect = async (url: string, purpose: 'source' | 'target'): Promise<pg.Client> => {
    const client = await connectPg({
      url,
      purpose,
      application: `restage ${config.name} check`,
      settings: { statement_timeout: STATEMENT_TIMEOUT },
    });
    open.push(client);
    return client;
  };
  try {
    const source = await connect(config.source.url, 'source');
    const tables = await readChosenTables(source, config);
    const targets: CheckedTarget[] = [];
    for (const target of config.targets) {
      const client = await connect(target.url, 'target');
      targets.push({
        config: target,
        client,
        major: await majorOf(client),
        role: await roleOf(client),
        tables: shapeSoundTables(tables, findOutput(config.outputs, target.output)),
      });
    }
    return await work({
      config,
      source,
      sourceMajor: await majorOf(source),
      sourceRole: await roleOf(source),
      tables,
      targets,
    });
  } finally {
    await Promise.allSettled(open.map((client) => client.end()));
  }
}

/** A setting's text; '' where the server does not know it. */
export async function readSetting(client: pg.ClientBase, name: string): Promise<string> {
  const [row] = (await client.query<{ value: string | null }>('SELECT current_setting($1, true) AS value', [name]))
    .rows;
  return row?.value ?? '';
}

async function roleOf(client: pg.ClientBase): Promise<string> {
  const [row] = (await client.query<{ role: string }>('SELECT current_user::text AS role')).rows;
  return row?.role ?? '';
}
