import type { OptionReader } from '#core/option-reader.ts';
import type { RehearsalConfig } from '#core/rehearsal/rehearsal-config.ts';

/** null where no clones can be made. Problems go to the reader. */
export function readRehearsal(reader: OptionReader): RehearsalConfig | null {
  const create = reader.get('rehearsal.command.create');
  const drop = reader.get('rehearsal.command.drop');
  if ((create === null) !== (drop === null))
    reader.report('rehearsal.command.create', [], 'rehearsal.command needs create and drop together');
  const driver = reader.get('rehearsal.driver');
  if (driver === 'command' && create === null)
    reader.report('rehearsal.driver', [], 'rehearsal.driver: command needs rehearsal.command.create');
  const url = reader.get('rehearsal.postgres.url');
  if (url === null && create === null) return null;
  return {
    url,
    baseline: reader.get('rehearsal.baseline'),
    driver,
    command: create === null || drop === null ? null : { create, drop },
    smoke: reader.get('rehearsal.smoke'),
    smokeSeconds: reader.get('rehearsal.smokeSeconds'),
    rollback: reader.get('rehearsal.rollback'),
    budget: {
      switchSeconds: reader.get('rehearsal.budget.switchSeconds'),
      replaySeconds: reader.get('rehearsal.budget.replaySeconds'),
      downtimeSeconds: reader.get('rehearsal.budget.downtimeSeconds'),
    },
  };
}
