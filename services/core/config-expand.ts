export type Environment = Readonly<Record<string, string | undefined>>;

export interface Expansion {
  readonly text: string;
  readonly isExpanded: boolean;
  /** What is wrong, one entry each; names variables, never values (invariant 8). */
  readonly problems: readonly string[];
}

const REFERENCE = /\$\$\{|\$\{([^}]*)\}|\$\{/g;
const INSIDE = /^([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?$/s;

/**
 * `${VAR}` and `${VAR:-default}` in one string; the default stands in for an unset or an empty variable, as in a shell.
 * `$${` is a literal `${`. What a variable holds is not expanded again.
 */
export function expandVariables(text: string, env: Environment): Expansion {
  const problems: string[] = [];
  let isExpanded = false;
  const expanded = text.replaceAll(REFERENCE, (match: string, inside: string | undefined) => {
    if (match === '$${') return '${';
    const parts = inside === undefined ? null : INSIDE.exec(inside);
    if (parts === null) {
      problems.push('"${" begins a variable but no ${VAR} or ${VAR:-default} follows; write a literal one as "$${"');
      return match;
    }
    isExpanded = true;
    const [, name = '', fallback] = parts;
    const value = Object.hasOwn(env, name) ? env[name] : undefined;
    if (fallback !== undefined) return value === undefined || value === '' ? fallback : value;
    if (value === undefined) problems.push(`the environment variable ${name} is not set`);
    return value ?? '';
  });
  return { text: expanded, isExpanded, problems };
}
