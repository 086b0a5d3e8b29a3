import type { TableName } from '#core/table-name.ts';

/** `schema.table`, split at the first dot outside double quotes; `""` in quotes is one quote. null when it is not that. */
export function parseTableName(text: string): TableName | null {
  const part = '("(?:[^"\\u0000]|"")+"|[^".\\u0000][^"\\u0000]*?)';
  const match = new RegExp(`^${part}\\.${part}$`, 'su').exec(text);
  if (match === null) return null;
  const [, schema = '', table = ''] = match;
  return { schema: unquote(schema), table: unquote(table) };
}

function unquote(part: string): string {
  return part.startsWith('"') ? part.slice(1, -1).replaceAll('""', '"') : part;
}
