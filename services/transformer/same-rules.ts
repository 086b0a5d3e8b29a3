import { outputRef } from '#core/output-ref.ts';
import { RestageError } from '#core/errors.ts';
import type { StoredManifest } from '#core/manifest.ts';
import type { ManifestDraft } from '#core/epoch-writer.ts';
import { requireSoundOutput } from '#core/rules/output-rules.ts';
import { changedParts, rulesChanged, writePrint, type RulesPrint } from '#core/rules/rules-print.ts';
import { structureId } from '#core/structure-record.ts';
import { epochsTopic } from '#core/topic-names.ts';
import type { EventShaper } from './event-shaper.ts';
import type { TransformerParts } from './transformer-parts.ts';

/** By which an output is made now, and whether a person says that they may be others than before. */
export interface OutputRules {
  readonly print: RulesPrint;
  readonly areAccepted: boolean;
}

type Parts = Pick<TransformerParts, 'output' | 'rules' | 'shapedPrefix' | 'logger'>;

/**
 * What an output has written was made by rules, which stand beside its position. True where others go on from here, as a person says.
 * @throws RestageError rules_changed.
 */
export function requireSameRules({ output, rules, shapedPrefix, logger }: Parts, last: StoredManifest | null): boolean {
  if (last === null) return false;
  const changed = changedParts(rules.print, last.manifest.raw?.rules);
  if (changed.length === 0) return false;
  const place = {
    ref: outputRef([output], output),
    through: last.manifest.through,
    position: `${epochsTopic(shapedPrefix)}, offset ${last.offset}`,
  };
  if (!rules.areAccepted) throw rulesChanged(changed, place);
  logger.warn({ changed, ...place }, `rules were changed and are accepted: ${changed.join(', ')}`);
  return true;
}

/** Rows that were written keep their columns, so other columns need the output's next version. @throws RestageError rules_changed. */
export function requireSameTables({ output, shapedPrefix }: Parts, shaper: EventShaper): void {
  const topics = reshapedTopics(shaper);
  if (topics.length === 0) return;
  throw new RestageError('rules_changed', `the new rules give output ${output.name} other tables or columns`, {
    where: topics.map((topic) => topic.slice(shapedPrefix.length + 1)).join(', '),
    fix: "raise the output's version: its targets' tables are made for the columns of now; where only their order differs, give columns.order",
  });
}

/** Rules and checks over all captured tables. @throws RestageError rule_invalid. */
export function requireSound({ output, shapedPrefix }: Parts, { structures, declaration }: EventShaper): void {
  requireSoundOutput(output, structures, shapedPrefix, declaration);
}

/** With the rules that made it. */
export function stamped(draft: ManifestDraft, print: RulesPrint): ManifestDraft {
  return draft.raw === undefined ? draft : { ...draft, raw: { ...draft.raw, rules: writePrint(print) } };
}

/** Tables of which no structure that an earlier life wrote comes of the source's any more, and those that come anew. By topic. */
function reshapedTopics({ shapes }: EventShaper): string[] {
  const written = new Set(shapes.written);
  const given = new Map<string, boolean>([...written].map((id) => [id.slice(0, id.lastIndexOf(':')), false]));
  for (const { branches } of shapes.given)
    for (const { shaped, version } of branches) {
      const isKnown = written.has(structureId({ version, structure: shaped }));
      given.set(shaped.topic, isKnown || given.get(shaped.topic) === true);
    }
  return [...given].flatMap(([topic, isKnown]) => (isKnown ? [] : [topic]));
}
