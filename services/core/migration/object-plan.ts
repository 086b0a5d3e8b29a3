/** Of each large object, by OID, a digest of its content. */
export type ObjectDigests = ReadonlyMap<string, string>;

export interface ObjectPlan {
  /** New at the other side, or different there. */
  readonly copied: readonly string[];
  /** Brought by an earlier copy, and no longer there. */
  readonly removed: readonly string[];
  /** The other side has something else under the same OID that no copy brought: nothing of it may be written. */
  readonly conflicts: readonly string[];
}

/** What makes `ours` equal to `theirs`; `marked`: those of ours that copies brought. Any other of ours is left alone. */
export function compareObjects(theirs: ObjectDigests, ours: ObjectDigests, marked: ReadonlySet<string>): ObjectPlan {
  const differing = [...theirs].filter(([oid, digest]) => ours.get(oid) !== digest).map(([oid]) => oid);
  const conflicts = differing.filter((oid) => ours.has(oid) && !marked.has(oid));
  return {
    copied: differing.filter((oid) => !ours.has(oid) || marked.has(oid)),
    removed: [...ours.keys()].filter((oid) => marked.has(oid) && !theirs.has(oid)),
    conflicts,
  };
}
