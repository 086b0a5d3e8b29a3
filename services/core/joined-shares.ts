import type { WrittenEntry } from '#core/epoch-writer.ts';
import { RestageError } from '#core/errors.ts';
import type { StoredManifest } from '#core/manifest.ts';

/**
 * The manifest of what lanes made of one raw manifest: the ranges of all, the first lane's control entries (it alone has them), rows added up.
 * `plan`: the offset of the output's plan on its own `.epochs`. @throws RestageError manifest_invalid where the shares are not of one manifest.
 */
export function joinShares(shares: readonly StoredManifest[], plan: string | null): WrittenEntry {
  const [first] = shares;
  const raw = first?.manifest.raw;
  if (first === undefined || raw === undefined)
    throw new RestageError('manifest_invalid', 'a share does not say what it was made from');
  for (const { manifest, offset } of shares)
    if (manifest.raw?.offset !== raw.offset || manifest.kind !== first.manifest.kind)
      throw new RestageError('manifest_invalid', 'lanes passed on different manifests of the raw topics', {
        where: `raw offset ${raw.offset} and ${manifest.raw?.offset ?? 'none'}, shares ${first.offset} and ${offset}`,
        fix: "raise the output's version: it is made anew beside this one",
      });
  const { ranges: _ranges, total: _total, format: _format, joint: _joint, rows, ...rest } = first.manifest;
  const isJoint = shares.some(({ manifest }) => manifest.joint === true);
  return {
    draft: {
      ...rest,
      plan,
      ...(isJoint ? { joint: true } : {}),
      ...(rows === undefined ? {} : { rows: shares.reduce((sum, { manifest }) => sum + (manifest.rows ?? 0), 0) }),
      raw: { ...raw, shares: shares.map(({ offset }) => String(offset)) },
    },
    counts: [],
    ranges: shares.flatMap(({ manifest }) => manifest.ranges),
  };
}
