import { newStatus } from '#core/status.ts';
import type { EventShaper } from '../../services/transformer/event-shaper.ts';
import { HeldLetters } from '../../services/transformer/held-letters.ts';
import { OutputQuarantine } from '../../services/transformer/output-quarantine.ts';

/** Of an output without one: what fails stops its transformer. */
export function idleQuarantine(shaper: EventShaper): Promise<OutputQuarantine> {
  const quarantine = new OutputQuarantine({
    policy: 'stop',
    name: 'none',
    service: 'transformer main',
    output: 'main',
    topic: 'none.state.main.v1.held',
    held: new HeldLetters(),
    shaper,
    status: newStatus('transformer', 'main'),
    clock: () => 0,
  });
  return Promise.resolve(quarantine);
}
