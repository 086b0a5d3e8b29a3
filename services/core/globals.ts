/** A statement of what all databases of a server share, or of a database's settings and grants. */
export interface GlobalStatement {
  readonly kind: 'role' | 'attributes' | 'setting' | 'membership' | 'comment' | 'database' | 'grant';
  /** The role that it makes or alters, as the catalog has it; of a grant who gets it. */
  readonly role: string;
  readonly sql: string;
}

const NAME = '("(?:[^"]|"")+"|[^\\s;"]+)';
const CREATE = new RegExp(`^CREATE ROLE ${NAME};$`);
const SET = new RegExp(`^ALTER ROLE ${NAME} (?:IN DATABASE \\S+ )?SET `, 's');
const ALTER = new RegExp(`^ALTER ROLE ${NAME} WITH `, 's');
const GRANT = new RegExp(`^GRANT ${NAME} TO ${NAME}(?: |;)`, 's');
const COMMENT = new RegExp(`^COMMENT ON ROLE ${NAME} IS `, 's');
/** Roles that servers and their hosts make for themselves. */
const OF_THE_HOST = /^(pg_.*|postgres|rds.*|rdsadmin|cloudsql.*|azure.*|supabase_.*|neon_.*|alloydb.*)$/;

/**
 * The statements about roles of `pg_dumpall --globals-only`, in its order; what it says of tablespaces and of the roles that a server
 * has by itself is left out, and so is who granted a membership: that role need not be there.
 */
export function parseGlobals(dump: string): GlobalStatement[] {
  return splitStatements(dump).flatMap((sql): GlobalStatement[] => {
    const found = statementOf(sql);
    return found === null || isOfTheHost(found.role) ? [] : [found];
  });
}

export function isOfTheHost(role: string): boolean {
  return OF_THE_HOST.test(role);
}

/** The same without the secret, for people and logs (invariant 8). */
export function withoutPassword(sql: string): string {
  return sql.replaceAll(/PASSWORD '(?:[^']|'')*'/g, `PASSWORD '***'`);
}

/** Those that are still to be run: roles that are there keep their attributes and settings as they are, and get memberships. */
export function missingGlobals(statements: readonly GlobalStatement[], there: ReadonlySet<string>): GlobalStatement[] {
  const isKept = new Set<GlobalStatement['kind']>(['membership', 'database', 'grant']);
  return statements.filter(({ kind, role }) => isKept.has(kind) || !there.has(role));
}

function statementOf(sql: string): GlobalStatement | null {
  const made = CREATE.exec(sql);
  if (made !== null) return { kind: 'role', role: unquote(made[1]), sql };
  const set = SET.exec(sql);
  if (set !== null) return { kind: 'setting', role: unquote(set[1]), sql };
  const altered = ALTER.exec(sql);
  if (altered !== null) return { kind: 'attributes', role: unquote(altered[1]), sql };
  const comment = COMMENT.exec(sql);
  if (comment !== null) return { kind: 'comment', role: unquote(comment[1]), sql };
  const granted = GRANT.exec(sql);
  if (granted === null) return null;
  const plain = sql.replace(new RegExp(` GRANTED BY ${NAME};$`), ';');
  return { kind: 'membership', role: unquote(granted[2]), sql: plain };
}

function unquote(name = ''): string {
  return name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name;
}

/** At semicolons outside quotes; comments and psql's own commands stand on lines of their own. */
function splitStatements(dump: string): string[] {
  const statements: string[] = [];
  let statement = '';
  let quote = '';
  for (const line of dump.split('\n')) {
    if (quote === '' && statement === '' && (line === '' || /^(--|\\)/.test(line))) continue;
    statement += statement === '' ? line : `\n${line}`;
    for (const character of line) {
      if (quote === '') quote = character === "'" || character === '"' ? character : '';
      else if (character === quote) quote = '';
    }
    if (quote !== '' || !line.endsWith(';')) continue;
    statements.push(statement);
    statement = '';
  }
  return statements;
}
