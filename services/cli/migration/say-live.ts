import type pg from 'pg';
import { readSide } from '#adapters/postgres/migration/side-state.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import { otherSide, type JournalRecord } from '#core/migration/journal.ts';
import { foldJournal } from '#core/migration/state.ts';
import { connectTarget } from '../target-checkpoint.ts';
import { readStory } from './migration-line.ts';

/** A server that has fallen silent is not waited for. */
const ANSWER_MS = 5_000;

/** Which side is live, in a sentence, as the journal has it now. */
export async function sayLive(config: Config, target: TargetConfig): Promise<string> {
  const until = AbortSignal.timeout(ANSWER_MS);
  try {
    const client = await connectTarget(config, target, until);
    try {
      return await liveOf(client, config, target);
    } finally {
      await client.end();
    }
  } catch {
    return `the journal in target ${target.name} cannot be asked now, which alone says which side is live; restage status says it once the target answers`;
  }
}

/** Where nobody can believe the journal, the target's own row still says what its guards do. */
async function liveOf(client: pg.ClientBase, config: Config, target: TargetConfig): Promise<string> {
  try {
    return describeLive(await readStory(client, config, target));
  } catch (error) {
    if (!(error instanceof RestageError && error.code === 'state_damaged')) throw error;
    const side = await readSide(client, config.name);
    return `the journal in target ${target.name} was altered and is not believed; restage.side there has the target as ${side?.isWritable === true ? 'open' : 'closed'} for writers`;
  }
}

export function describeLive(records: readonly JournalRecord[]): string {
  const { live, open } = foldJournal(records);
  if (open === null) return `the ${live} is the live side`;
  const step = open.started.at(-1) ?? 'begun';
  return open.isCommitted
    ? `the ${live} is the live side: a switch to it is past its point of no return, at step ${step}, and has not ended`
    : `the ${live} is the live side: a switch to the ${otherSide(live)} has begun, is at step ${step}, and is not committed; a fence that was not sealed ends by itself within ${open.timeBoxMs} ms`;
}
