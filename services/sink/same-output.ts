import { RestageError } from '#core/errors.ts';
import { isTopicOf } from '#core/topic-names.ts';

/**
 * A position counts on the stream of epochs that it was reached on: offsets of one version say nothing of another's. `loaded`: the topics
 * that the target's rows came from.
 * @throws RestageError output_changed when they are another output's, or another version's.
 */
export function requireSameOutput(loaded: readonly string[], prefix: string, target: string): void {
  const other = loaded.find((topic) => !isTopicOf(prefix, topic));
  if (other === undefined) return;
  throw new RestageError('output_changed', `the target holds ${describe(other)}, the configuration gives it another`, {
    where: `target ${target}: restage.table_load names ${other}, the configuration ${prefix}.*`,
    fix: `give the target its output back; or fill it anew: restage replay --target ${target} --from beginning --force; or name a new target for the other output`,
  });
}

function describe(topic: string): string {
  const [, output, version] = /\.shaped\.([^.]+)\.v(\d+)\./.exec(topic) ?? [];
  return output === undefined ? 'the raw topics' : `output ${output}@${version}`;
}
