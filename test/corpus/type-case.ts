/** A type and SQL expressions of its values, or none where a version lacks it. */
export interface TypeCase {
  readonly type: string;
  readonly values: readonly string[];
  /** The oldest PostgreSQL that has the type or the values. */
  readonly since?: 18;
}

/** Values as literals. */
export function quoted(texts: readonly string[]): string[] {
  return texts.map((text) => `'${text.replaceAll("'", "''")}'`);
}

export function typed(type: string, texts: readonly string[]): TypeCase {
  return { type, values: quoted(texts) };
}
