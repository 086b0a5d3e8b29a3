import type { Failpoints } from '#core/failpoints.ts';
import type { TableName } from '#core/table-name.ts';
import type { TableRanks } from './segment-apply.ts';
import type { TargetSession } from './target.ts';

/** How the sink keeps the target's own triggers and foreign keys from repeating what came with the stream. */
export interface ApplyMode {
  /** Before anything is applied to these tables. @throws RestageError foreign_key_unmet, target_auth or lease_lost. */
  prepare(session: TargetSession, tables: readonly TableName[], isLoadDone: boolean): Promise<void>;
  /** Where foreign keys are checked, the order that meets them; else null. */
  ranks(session: TargetSession, tables: readonly TableName[]): Promise<TableRanks | null>;
  /** The operator gave the target to its application: nothing may be applied any more. */
  isOver(session: TargetSession): Promise<boolean>;
}

/** The session is a replica's: the server itself keeps them still. */
export const REPLICA_MODE: ApplyMode = {
  prepare: () => Promise.resolve(),
  ranks: () => Promise.resolve(null),
  isOver: () => Promise.resolve(false),
};

/** The role may not set session_replication_role: triggers are disabled until `restage schema finish`, keys are met by order. */
export function originMode(failpoints: Failpoints): ApplyMode {
  return {
    async prepare({ transaction, origin }, tables, isLoadDone) {
      await transaction.begin('UPDATE');
      try {
        await origin.takeAway(tables, isLoadDone);
        failpoints.hit('sink.takeAway.before');
        await transaction.commit();
        failpoints.hit('sink.takeAway.after');
      } catch (error) {
        await transaction.rollback().catch(() => undefined);
        throw error;
      }
    },
    ranks: ({ origin }, tables) => origin.ranks(tables),
    isOver: ({ origin }) => origin.isOver(),
  };
}
