import type { Lsn } from '#core/lsn.ts';
import type { SentTuple } from '#core/tuple.ts';

export interface RelationColumn {
  readonly name: string;
  readonly isKey: boolean;
  readonly typeOid: number;
  /** pg_attribute.atttypmod; −1 for none. */
  readonly typeModifier: number;
}

export interface Relation {
  readonly oid: number;
  readonly schema: string;
  readonly table: string;
  readonly replicaIdentity: 'd' | 'n' | 'f' | 'i';
  readonly columns: readonly RelationColumn[];
}

/** PostgreSQL: "Logical Replication Message Formats". Times are microseconds since 1970-01-01 UTC. */
export type PgoutputMessage =
  | { readonly tag: 'begin'; readonly commit: Lsn; readonly commitTime: bigint; readonly xid: number }
  | { readonly tag: 'commit'; readonly commit: Lsn; readonly end: Lsn }
  | { readonly tag: 'relation'; readonly relation: Relation }
  | { readonly tag: 'insert'; readonly relation: number; readonly after: SentTuple }
  | { readonly tag: 'update'; readonly relation: number; readonly before: OldTuple | null; readonly after: SentTuple }
  | { readonly tag: 'delete'; readonly relation: number; readonly before: OldTuple }
  | {
      readonly tag: 'truncate';
      readonly relations: readonly number[];
      readonly cascade: boolean;
      readonly restartIdentity: boolean;
    }
  | { readonly tag: 'message'; readonly isTransactional: boolean; readonly prefix: string; readonly content: string }
  /** Origins and types: nothing to do about them. */
  | { readonly tag: 'other' };

/** `key`: only the identity's columns have values, the others are null. `full`: the whole row (REPLICA IDENTITY FULL). */
export interface OldTuple {
  readonly kind: 'key' | 'full';
  readonly values: SentTuple;
}
