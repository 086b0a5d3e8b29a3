/** An extension of the source, and what the target's server has of it. */
export interface ExtensionPair {
  readonly name: string;
  /** At the source. */
  readonly version: string;
  /** At the target; null: it is not installed. */
  readonly installed: string | null;
  /** What CREATE EXTENSION makes there; null: the server does not have it. */
  readonly byDefault: string | null;
  /** Every version that can be made there, or be updated to. */
  readonly available: readonly string[];
}

/**
 * What there is to say of it.
 * - absent: the server does not have it.
 * - equal, newer: nothing is lost.
 * - older: the target has, or would get, an older one; `fix` is the version that it could have instead, null for none.
 */
export type ExtensionVerdict =
  | { readonly is: 'absent' | 'equal' | 'newer' }
  | { readonly is: 'older'; readonly has: string; readonly fix: string | null };

export function judgeExtension({ version, installed, byDefault, available }: ExtensionPair): ExtensionVerdict {
  const has = installed ?? byDefault;
  if (has === null) return { is: 'absent' };
  const order = compareVersions(has, version);
  if (order >= 0) return { is: order === 0 ? 'equal' : 'newer' };
  const fitting = available.filter((one) => compareVersions(one, version) >= 0).toSorted(compareVersions);
  return { is: 'older', has, fix: fitting[0] ?? null };
}

const VERSIONS = new Intl.Collator('en', { numeric: true });

/** By numbers where they are numbers: 1.10 comes after 1.9. Versions are free texts, so this is what people mean, not what the server knows. */
export function compareVersions(one: string, other: string): number {
  return VERSIONS.compare(one, other);
}
