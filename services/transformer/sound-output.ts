import type { OutputConfig } from '#core/config.ts';
import { requireSoundRules } from '#core/rules/output-rules.ts';
import { findValidationProblems } from '#core/rules/validation.ts';
import type { EventShaper } from './event-shaper.ts';

interface Output {
  readonly output: Pick<OutputConfig, 'rules'>;
  readonly shapedPrefix: string;
}

/** Rules and checks over all captured tables. @throws RestageError rule_invalid. */
export function requireSoundOutput({ output, shapedPrefix }: Output, shaper: EventShaper): void {
  const { structures, declaration, validations } = shaper;
  requireSoundRules(output.rules, structures, shapedPrefix, declaration);
  const [problem] = findValidationProblems(validations, structures);
  if (problem !== undefined) throw problem;
}
