import type pg from 'pg';
import { RestageError } from '#core/errors.ts';
import type { CloneDriver, CloneProbe } from '#core/rehearsal/clone-driver.ts';
import type { RehearsalConfig } from '#core/rehearsal/rehearsal-config.ts';
import { CommandClone } from './command-clone.ts';
import { DumpClone } from './dump-clone.ts';
import { TemplateClone } from './template-clone.ts';

export interface ChosenDriver {
  readonly driver: CloneDriver;
  readonly probe: Extract<CloneProbe, { can: true }>;
}

/** The first that can, the quickest first; the one that the configuration names, or none. @throws RestageError clone_refused. */
export async function chooseDriver(
  config: RehearsalConfig,
  client: pg.ClientBase | null,
  signal: AbortSignal,
): Promise<ChosenDriver> {
  const refusals: string[] = [];
  for (const driver of listDrivers(config, client, signal)) {
    if (config.driver !== 'auto' && driver.kind !== config.driver) continue;
    const probe = await driver.probe();
    if (probe.can) return { driver, probe };
    refusals.push(`${driver.kind}: ${probe.refusal}`);
  }
  throw new RestageError('clone_refused', 'no way to make a clone works here', {
    where: refusals.length === 0 ? `rehearsal.driver: ${config.driver}` : refusals.join('; '),
    fix: 'give rehearsal.postgres.url, as a role with CREATEDB that owns the baseline, or rehearsal.command',
  });
}

function listDrivers(
  { command, baseline, url }: RehearsalConfig,
  client: pg.ClientBase | null,
  signal: AbortSignal,
): CloneDriver[] {
  return [
    ...(command === null ? [] : [new CommandClone(command, baseline, signal)]),
    ...(client === null || url === null ? [] : [new TemplateClone(client, url, baseline)]),
    ...(client === null || url === null || baseline === null ? [] : [new DumpClone(client, url, baseline)]),
  ];
}
