import type { TableMaker } from './journalled-schema.ts';
import { requireEmpty, requireFitting } from './target-tables.ts';

/**
 * `schema: require`: somebody else made the tables. They must fit, and be empty when the load begins. Nothing is altered, but what
 * takeAway takes for the time it must be away; no key or index is taken, so after the load only ANALYZE runs.
 */
export const requiredTables: TableMaker = {
  how: 'require',
  makesTables: false,
  async prepare(client, tables) {
    await requireFitting(client, tables);
    await requireEmpty(client, tables);
    return [{ tables, run: () => Promise.resolve([]) }];
  },
};
