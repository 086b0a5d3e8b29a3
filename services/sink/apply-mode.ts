import type pg from 'pg';
import { readTableRanks } from '#adapters/postgres/target/foreign-keys.ts';
import { isFinishStarted } from '#adapters/postgres/target/schema-finish.ts';
import { takeAway } from '#adapters/postgres/target/take-away.ts';
import type { TargetState } from '#adapters/postgres/target/target-state.ts';
import type { Failpoints } from '#core/failpoints.ts';
import type { TableName } from '#core/table-name.ts';
import type { TableRanks } from './segment-apply.ts';

/** How the sink keeps the target's own triggers and foreign keys from repeating what came with the stream. */
export interface ApplyMode {
  /** Before anything is applied to these tables. @throws RestageError foreign_key_unmet, target_auth or lease_lost. */
  prepare(client: pg.ClientBase, tables: readonly TableName[], isLoadDone: boolean): Promise<void>;
  /** Where foreign keys are checked, the order that meets them; else null. */
  ranks(client: pg.ClientBase, tables: readonly TableName[]): Promise<TableRanks | null>;
  /** The operator gave the target to its application: nothing may be applied any more. */
  isOver(client: pg.ClientBase): Promise<boolean>;
}

/** The session is a replica's: the server itself keeps them still. */
export const REPLICA_MODE: ApplyMode = {
  prepare: () => Promise.resolve(),
  ranks: () => Promise.resolve(null),
  isOver: () => Promise.resolve(false),
};

/** The role may not set session_replication_role: triggers are disabled until `restage schema finish`, keys are met by order. */
export function originMode(pipeline: string, state: TargetState, failpoints: Failpoints): ApplyMode {
  return {
    async prepare(client, tables, isLoadDone) {
      await client.query('BEGIN');
      try {
        await state.guard(client, 'UPDATE');
        await takeAway(client, pipeline, tables, isLoadDone);
        failpoints.hit('sink.takeAway.before');
        await client.query('COMMIT');
        failpoints.hit('sink.takeAway.after');
      } catch (error) {
        await client.query('ROLLBACK').catch(() => undefined);
        throw error;
      }
    },
    ranks: readTableRanks,
    isOver: (client) => isFinishStarted(client, pipeline),
  };
}
