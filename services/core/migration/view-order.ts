/** Relations by OID, and what each view is made of. */
export interface ViewUse {
  readonly view: string;
  readonly used: string;
}

/** The views that come from `tables`, in whatever number of steps, each after what it is made of. */
export function orderViews(uses: readonly ViewUse[], tables: ReadonlySet<string>): string[] {
  const usedBy = new Map<string, string[]>();
  for (const { view, used } of uses) usedBy.set(view, [...(usedBy.get(view) ?? []), used]);
  const isOfTables = new Map<string, boolean>();
  const ordered: string[] = [];
  const visit = (relation: string): boolean => {
    if (tables.has(relation)) return true;
    const known = isOfTables.get(relation);
    if (known !== undefined) return known;
    // Views that name each other in a ring cannot be made.
    isOfTables.set(relation, false);
    const found = (usedBy.get(relation) ?? []).map(visit).includes(true);
    isOfTables.set(relation, found);
    if (found) ordered.push(relation);
    return found;
  };
  for (const view of usedBy.keys()) visit(view);
  return ordered;
}
