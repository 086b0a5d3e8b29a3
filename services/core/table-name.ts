/** A table as the catalog names it; neither part is ever quoted here. */
export interface TableName {
  readonly schema: string;
  readonly table: string;
}

/** A key for maps: a schema holds no NUL byte, so no two tables share one. */
export function tableKey(name: TableName): string {
  return `${name.schema}\u0000${name.table}`;
}

/** For people: `schema.table`, quoted where SQL would want quotes. */
export function formatTable(name: TableName): string {
  return `${quoteIfNeeded(name.schema)}.${quoteIfNeeded(name.table)}`;
}

function quoteIfNeeded(part: string): string {
  return /^[a-z_][a-z0-9_$]*$/.test(part) ? part : quoteIdentifier(part);
}

/** A delimited identifier (PostgreSQL: "Identifiers and Key Words"). @throws RangeError on NUL or an empty name. */
export function quoteIdentifier(name: string): string {
  if (name === '' || name.includes('\u0000')) throw new RangeError(`not an identifier: ${JSON.stringify(name)}`);
  return `"${name.replaceAll('"', '""')}"`;
}

/** `"schema"."table"` for SQL. */
export function quoteTable(name: TableName): string {
  return `${quoteIdentifier(name.schema)}.${quoteIdentifier(name.table)}`;
}

/** A string constant that means the same whatever standard_conforming_strings says. For protocol commands that take no parameters. */
export function quoteLiteral(value: string): string {
  if (value.includes('\u0000')) throw new RangeError('a string constant cannot hold NUL');
  const quoted = value.replaceAll("'", "''");
  return value.includes('\\') ? ` E'${quoted.replaceAll('\\', '\\\\')}'` : `'${quoted}'`;
}
