import type pg from 'pg';
import { createAdvisoryLease, type DatabaseLease } from '#adapters/postgres/advisory-lease.ts';
import { chooseDriver, type ChosenDriver } from '#adapters/postgres/clone/choose-driver.ts';
import { StandIn, standInName } from '#adapters/postgres/clone/stand-in.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { databaseOf } from '#core/address.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import { cloneName } from '#core/rehearsal/clone-driver.ts';
import type { RehearsalConfig } from '#core/rehearsal/rehearsal-config.ts';
import type { Logger } from '#core/log.ts';
import { urlOf } from '#adapters/postgres/clone/clone-database.ts';

/** Where a target's clones are made, for the time of one command: nobody else makes or removes them meanwhile. */
export interface ClonePlace extends ChosenDriver, AsyncDisposable {
  readonly rehearsal: RehearsalConfig;
  readonly name: string;
  /** Null where clones are made by a command: a clone of a clone is not to be had there. */
  readonly standIn: StandIn | null;
}

/** @throws RestageError clone_refused, target_unreachable or operator_busy. */
export async function openClonePlace(
  config: Config,
  target: TargetConfig,
  logger: Logger,
  signal: AbortSignal,
): Promise<ClonePlace> {
  const { rehearsal } = config;
  if (rehearsal === undefined)
    throw new RestageError('clone_refused', 'the configuration has no place for clones', {
      where: config.file,
      fix: 'give rehearsal.postgres.url, or rehearsal.command; see docs/rehearse.md',
    });
  const name = cloneName(config.name, target.name);
  requireNoTarget(config, rehearsal, name);
  const { url } = rehearsal;
  const application = `restage ${config.name} rehearse ${target.name}`;
  const connect = (database: string): Promise<pg.Client> =>
    connectPg({ url: database, purpose: 'target', application });
  const client = url === null ? null : await connect(url);
  const lease = url === null ? null : leaseOf(name, () => connect(url), logger);
  const close = async (): Promise<void> => {
    await lease?.release();
    await client?.end();
  };
  try {
    await lease?.acquire(signal, () => {
      throw new RestageError('operator_busy', 'another rehearsal of this target is under way', {
        where: name,
        fix: 'wait for its end',
      });
    });
    const chosen = await chooseDriver(rehearsal, client, signal);
    const isOurs = client !== null && url !== null && chosen.driver.kind !== 'command';
    const standIn = isOurs ? new StandIn(client, url, name) : null;
    return { ...chosen, rehearsal, name, standIn, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

function leaseOf(name: string, connect: () => Promise<pg.Client>, logger: Logger): DatabaseLease {
  return createAdvisoryLease({ connect, name, logger });
}

/** A live target is no baseline: a template takes no sessions, and a clone under its name would take its place. */
function requireNoTarget(config: Config, { url, baseline }: RehearsalConfig, name: string): void {
  if (url === null) return;
  const taken = new Set([config.source.url, ...config.targets.map((one) => one.url)].map(databaseOf));
  for (const database of [baseline ?? name, name, standInName(name)]) {
    if (!taken.has(databaseOf(urlOf(url, database)))) continue;
    throw new RestageError('clone_refused', 'the source, or a live target, would be taken for a rehearsal', {
      where: `database ${database}`,
      fix: 'make a baseline of its own: a copy of the target as it was before the first load, or an empty database',
    });
  }
}
