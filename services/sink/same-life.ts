import type { Checkpoint } from '#adapters/postgres/target/target-state.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import { RestageError } from '#core/errors.ts';

/** @throws RestageError state_foreign when the checkpoint is of another life of the pipeline, history_lost when Kafka has no such plan. */
export async function requireSameLife(
  { reader }: { readonly reader: EpochReader },
  checkpoint: Checkpoint,
  signal: AbortSignal,
): Promise<void> {
  if ((await reader.end()) <= checkpoint.planOffset) {
    throw new RestageError('history_lost', 'Kafka has less of this pipeline than the target has applied', {
      where: `restage.checkpoint begins at offset ${checkpoint.planOffset} of .epochs, which ends before it`,
      fix: 'correct kafka.brokers; if the topics were deleted, use an empty target and another pipeline name',
    });
  }
  for await (const manifests of reader.manifests(checkpoint.planOffset, signal)) {
    const incarnation = manifests[0]?.manifest.incarnation ?? '';
    if (incarnation === checkpoint.incarnation) return;
    throw new RestageError('state_foreign', "the target's state belongs to another life of this pipeline", {
      where: `restage.checkpoint has incarnation ${checkpoint.incarnation}, Kafka ${incarnation}`,
      fix: 'use an empty target, or another pipeline name',
    });
  }
}
