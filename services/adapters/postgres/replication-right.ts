/** SQL: whether the current role may replicate. Managed services grant it by a role of theirs instead of the attribute. */
export const MAY_REPLICATE = `(
  EXISTS (SELECT FROM pg_roles WHERE rolname = current_user AND (rolreplication OR rolsuper))
  OR EXISTS (SELECT FROM pg_roles g WHERE g.rolname IN ('rds_replication', 'cloudsqlreplica') AND pg_has_role(current_user, g.oid, 'member')))`;
