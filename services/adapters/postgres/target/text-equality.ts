/** Types whose equality is that of their text under the pinned settings. */
const TEXT_EQUAL_TYPES: ReadonlySet<string> = new Set([
  'bool',
  'int2',
  'int4',
  'int8',
  'oid',
  'text',
  'varchar',
  'uuid',
  'bytea',
  'date',
  'timestamp',
  'timestamptz',
  'name',
  'char',
]);

/** pg_type.typname and typtype, whether the type is pg_catalog's, and pg_collation.collisdeterministic of the column. */
export interface ComparedType {
  readonly type: string;
  readonly kind: string;
  readonly built_in: boolean;
  readonly deterministic: boolean;
}

/** Whether two values are equal exactly when their texts are. */
export function isTextEqualType({ type, kind, built_in, deterministic }: ComparedType): boolean {
  return (kind === 'e' || (built_in && TEXT_EQUAL_TYPES.has(type))) && deterministic;
}
