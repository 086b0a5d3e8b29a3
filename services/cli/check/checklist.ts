/** One thing to know before a migration, and the checks that look for it. */
export interface ChecklistItem {
  readonly number: number;
  readonly asks: string;
  /** Their ids. */
  readonly checks: readonly string[];
}

/** What `restage check` is to know, whole: nothing of it is left to memory. */
export const CHECKLIST: readonly ChecklistItem[] = [
  item(1, 'does the source write a WAL that can be decoded', 'source.wal_level'),
  item(
    2,
    'are slots, walsenders, connections and locks free',
    'source.free_slots',
    'target.connections',
    'source.locks',
    'target.locks',
  ),
  item(
    3,
    'may the role replicate, through what stands between',
    'source.replication_role',
    'source.replication_connection',
    'servers.pooler',
  ),
  item(4, 'can a slot be made now', 'source.replication_connection'),
  item(5, 'is there one server behind the url', 'source.one_server'),
  item(
    6,
    'may every table and sequence be read, whole',
    'scope.select',
    'scope.sequences',
    'scope.row_security',
    'scope.dump',
  ),
  item(7, 'does every change name its row', 'scope.replica_identity'),
  item(8, 'what does REPLICA IDENTITY FULL cost', 'scope.identity_full'),
  item(9, 'which tables have no key', 'scope.keyless'),
  item(10, 'how long may the pipeline stand before the slot is lost', 'source.slot_limit', 'source.idle_slot_timeout'),
  item(
    11,
    'how much WAL is written, and how large are transactions for the decoder',
    'source.decoding_memory',
    'source.wal_rate',
  ),
  item(12, 'which transactions are long', 'source.long_transactions', 'servers.sessions'),
  item(13, 'which transactions are prepared', 'source.prepared_transactions'),
  item(14, 'when is a connection given up', 'source.sender_timeout'),
  item(
    15,
    'which slots and publications are there already',
    'source.other_slots',
    'source.slot_name',
    'source.publication',
  ),
  item(16, 'is the source a stand-by', 'source.standby'),
  item(17, 'does the slot outlive a failover', 'source.failover'),
  item(18, 'do the versions fit, of servers and tools', 'target.version', 'target.schema_tool'),
  item(
    19,
    'are encoding and order of text the same',
    'source.encoding',
    'target.encoding',
    'target.collation',
    'servers.collation_versions',
  ),
  item(20, 'are the extensions there', 'target.extensions'),
  item(21, 'does every type arrive', 'profile.columns'),
  item(22, 'how wide are rows', 'scope.wide_rows'),
  item(23, 'are there large objects', 'scope.large_objects'),
  item(24, 'what has no WAL: unlogged and foreign tables', 'scope.unlogged', 'scope.outside_wal'),
  item(25, 'which materialized views are to be made anew', 'scope.materialized_views'),
  item(26, 'what does the target compute itself', 'scope.computed'),
  item(27, 'which sequences are near their end', 'scope.sequence_limits', 'scope.sequences'),
  item(28, 'what acts on replayed rows', 'target.triggers', 'target.event_triggers', 'target.replication_role'),
  item(29, 'which constraints make trouble', 'scope.constraints', 'scope.foreign_keys', 'target.foreign_keys'),
  item(30, 'which unique indexes are special', 'scope.special_indexes'),
  item(31, 'how are tables partitioned', 'scope.partitions'),
  item(32, 'is DDL noticed, and what came already', 'source.rewrite_trigger', 'scope.drift'),
  item(33, 'can the applications log in at the target', 'target.roles', 'target.database_settings'),
  item(34, 'which policies and functions depend on who asks', 'scope.policies'),
  item(35, 'who else reads the source', 'source.neighbours'),
  item(36, 'do rows come by replication', 'source.subscriptions'),
  item(
    37,
    'is the target empty and left alone',
    'target.tables',
    'target.clients',
    'target.read_only',
    'target.owner',
    'target.create',
  ),
  item(38, 'can the target keep up', 'target.settings'),
  item(39, 'how far are the servers', 'servers.round_trip'),
  item(40, 'do the clocks agree', 'servers.clock'),
  item(41, 'are statistics fresh, is a wraparound near', 'scope.statistics', 'source.wraparound'),
  item(42, 'who works with the source', 'source.clients'),
  item(43, 'can queries be compared afterwards', 'source.query_figures'),
  item(44, 'does Kafka keep what it gets', 'kafka.topics', 'kafka.replication'),
  item(45, 'is the choice of tables whole', 'scope.foreign_keys', 'scope.dependants', 'scope.alike_names'),
  item(46, 'how much is there', 'scope.size'),
  item(47, 'can every table come back', 'rollback.inverse'),
];

function item(number: number, asks: string, ...checks: readonly string[]): ChecklistItem {
  return { number, asks, checks };
}

/** `restage check --list`: the checklist, for people. */
export function formatChecklist(): string {
  return CHECKLIST.map(
    ({ number, asks, checks }) => `${String(number).padStart(2)}  ${asks}: ${checks.join(', ')}\n`,
  ).join('');
}
