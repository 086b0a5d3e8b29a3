import { RestageError } from '#core/errors.ts';

/** Lanes meet foreign keys and triggers in no order: only a replica's session keeps those still. */
export function needsReplica(target: string): RestageError {
  return new RestageError('target_denied', 'ordering: key needs a role that may set session_replication_role', {
    where: `target ${target}`,
    fix: 'as a superuser: GRANT SET ON PARAMETER session_replication_role TO the role (PostgreSQL 15 and newer); or set ordering: transaction',
  });
}
