import type { EpochReader } from '#core/epoch-reader.ts';
import { RestageError } from '#core/errors.ts';
import type { StoredManifest } from '#core/manifest.ts';
import { epochsTopic } from '#core/topic-names.ts';

interface Lives {
  readonly reader: EpochReader;
  readonly shapedPrefix: string;
  /** The output's last manifest; null before the first. */
  readonly last: StoredManifest | null;
}

/** The raw history's first plan; null when aborted before there is one. */
export async function findPlan(reader: EpochReader, signal: AbortSignal): Promise<StoredManifest | null> {
  for await (const manifests of reader.manifests(0n, signal)) {
    const plan = manifests.find(({ manifest }) => manifest.kind === 'plan');
    if (plan !== undefined) return plan;
  }
  return null;
}

/** @throws RestageError state_foreign where an output was made from another history than the raw topics have. */
export async function requireSameLife({ reader, shapedPrefix, last }: Lives, incarnation: string): Promise<void> {
  if (last === null) return;
  const consumed = last.manifest.raw?.offset;
  const isSame =
    last.manifest.incarnation === incarnation && consumed !== undefined && BigInt(consumed) < (await reader.end());
  if (isSame) return;
  throw new RestageError('state_foreign', 'the shaped topics belong to another life of this pipeline', {
    where: `${epochsTopic(shapedPrefix)}, offset ${last.offset}, has incarnation ${last.manifest.incarnation}, the raw topics ${incarnation}`,
    fix: "raise the output's version, or give the pipeline another name",
  });
}
