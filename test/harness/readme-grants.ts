import { readFile } from 'node:fs/promises';
import { quoteIdentifier, quoteLiteral } from '#core/table-name.ts';

export interface GrantNames {
  readonly role: string;
  readonly password: string;
  readonly database: string;
  readonly publication: string;
  /** As `schema.table`. */
  readonly tables: readonly string[];
}

/** The statements of the README's section "Grants", for one side, with these names put in. */
export async function readmeGrants(side: 'source' | 'target', names: GrantNames): Promise<string[]> {
  const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
  const section = /^## Grants\n([^]*?)^## /m.exec(readme)?.[1] ?? '';
  const blocks = [...section.matchAll(/^```sql\n([^]*?)^```/gm)].map((found) => found[1] ?? '');
  const [source, target] = blocks;
  if (blocks.length !== 2 || source === undefined || target === undefined)
    throw new Error(`the README has ${blocks.length} blocks of grants instead of two`);
  return (side === 'source' ? source : target)
    .replaceAll(/--.*$/gm, '')
    .split(';')
    .map((statement) => statement.trim())
    .filter((statement) => statement !== '')
    .map((statement) => fill(statement, names));
}

function fill(statement: string, names: GrantNames): string {
  if (statement.startsWith('CREATE PUBLICATION')) {
    const only = names.tables.map((table) => `ONLY ${table}`).join(', ');
    return `CREATE PUBLICATION ${quoteIdentifier(names.publication)} FOR TABLE ${only}`;
  }
  return statement
    .replace(/(ROLE|TO) restage\b/, `$1 ${quoteIdentifier(names.role)}`)
    .replace('DATABASE shop', `DATABASE ${quoteIdentifier(names.database)}`)
    .replace("'…'", quoteLiteral(names.password));
}
