import type pg from 'pg';
import { readJournal } from '#adapters/postgres/migration/migration-journal.ts';
import { readSide } from '#adapters/postgres/migration/side-state.ts';
import { SchemaJournal } from '#adapters/postgres/target/schema-journal.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import type { Forecast } from '#core/forecast.ts';
import type { JournalRecord, Side } from '#core/migration/journal.ts';
import { describeMigration } from '#core/migration/describe-migration.ts';
import { foldJournal, type CopyProgress, type MigrationPhase, type MigrationState } from '#core/migration/state.ts';
import { storyOf } from '#core/migration/together.ts';
import { connectTarget, type Checkpoint } from '../target-checkpoint.ts';

/** Where a target's migration is, for `restage status`. */
export interface MigrationLine {
  readonly phase: MigrationPhase;
  readonly live: Side;
  /** The targets that are switched as one with it, itself among them; null where it is alone. */
  readonly together: readonly string[] | null;
  /** False: the target takes no writes but Restage's; null: no guard stands there. */
  readonly isTargetOpen: boolean | null;
  readonly next: string;
  /** Until then, or what it takes. */
  readonly howLong: string;
  readonly canGoBack: string;
  /** Of a switch that has not ended: its newest step, and since when it runs. */
  readonly step: string | null;
  readonly since: string | null;
  /** When the checklist was asked last, and how many of its findings blocked then. */
  readonly checkedAt: string | null;
  readonly blocking: number | null;
  /** Newest comparison of all rows. */
  readonly verifiedAt: string | null;
  readonly unavailableMs: number | null;
  /** Why the newest attempt was given up. */
  readonly aborted: string | null;
}

/** What a target says of its migration. */
export interface MigrationFacts {
  readonly state: MigrationState;
  readonly copy: CopyProgress;
  readonly isVerifying: boolean;
  readonly isTargetOpen: boolean | null;
}

export async function readMigration(
  client: pg.ClientBase,
  config: Config,
  target: TargetConfig,
  checkpoint: Checkpoint | null,
): Promise<MigrationFacts> {
  const pipeline = config.name;
  const state = foldJournal(await readStory(client, config, target), target.name);
  const side = await readSide(client, pipeline);
  return {
    state,
    copy: await progressOf(client, pipeline, checkpoint),
    isVerifying: await isVerifying(client, pipeline),
    isTargetOpen: side === null || !state.isPrepared ? null : side.isWritable,
  };
}

/** `forecast`: of the services on the way to this target; null where they were not asked. */
export function migrationLine(facts: MigrationFacts, forecast: Forecast | null): MigrationLine {
  const { state, isTargetOpen } = facts;
  const { phase, next, howLong, back } = describeMigration(state, { ...facts, forecast });
  return {
    phase,
    live: state.live,
    together: state.together,
    isTargetOpen,
    next,
    howLong,
    canGoBack: back,
    step: state.open === null ? null : (state.open.started.at(-1) ?? 'begun'),
    since: state.open?.startedAt ?? null,
    checkedAt: state.checked?.at ?? null,
    blocking: state.checked?.blocks.length ?? null,
    verifiedAt: state.verified?.at ?? null,
    unavailableMs: state.unavailableMs,
    aborted: state.aborted,
  };
}

/** By its sessions here: it leaves nothing behind but its verdict. */
async function isVerifying(client: pg.ClientBase, pipeline: string): Promise<boolean> {
  const found = await client.query(
    'SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1 LIMIT 1',
    [`restage ${pipeline} verify`],
  );
  return found.rowCount === 1;
}

/** A target's journal; of one that is switched with others, with their switches, which the first one's has. */
export async function readStory(
  client: pg.ClientBase,
  config: Config,
  target: TargetConfig,
): Promise<readonly JournalRecord[]> {
  const own = await readJournal(client, config.name);
  const [leader] = foldJournal(own).together ?? [];
  const other = config.targets.find(({ name }) => name === leader && name !== target.name);
  if (other === undefined) return own;
  const session = await connectTarget(config, other);
  try {
    return storyOf(await readJournal(session, config.name), own);
  } finally {
    await session.end();
  }
}

async function progressOf(
  client: pg.ClientBase,
  pipeline: string,
  checkpoint: Checkpoint | null,
): Promise<CopyProgress> {
  if (checkpoint !== null) return checkpoint.isLoadDone ? 'streaming' : 'copying';
  return (await new SchemaJournal(client, pipeline).isPreDataDone()) ? 'structure' : 'none';
}

/** One line for people. */
export function formatMigration(name: string, line: MigrationLine): string {
  const at = line.step === null ? '' : ` at step ${line.step}, since ${line.since ?? ''}`;
  const aborted = line.aborted === null ? '' : `; the last attempt was undone: ${line.aborted.split('\n')[0] ?? ''}`;
  const together =
    line.together === null ? '' : `, together with ${line.together.filter((one) => one !== name).join(', ')}`;
  return `${name}: migration ${line.phase}${at}${together}; the ${line.live} is live; next: ${line.next}; how long: ${line.howLong}; can go back: ${line.canGoBack}${aborted}\n`;
}
