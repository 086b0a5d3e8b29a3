import type pg from 'pg';
import { forgetPipeline, findPipelineState } from '#adapters/postgres/target/pipeline-state.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import { connectTarget } from '../target-checkpoint.ts';
import type { Kept, Part, Piece } from './piece.ts';

/**
 * What a target keeps of a pipeline in its schema `restage`; data of its tables stays. Statements that were put off and not run are
 * nowhere but in its journal, so they keep it unless `isForced`.
 */
export async function openTargetPart(config: Config, target: TargetConfig, isForced: boolean): Promise<Part> {
  const client = await connectTarget(config, target);
  const place = `target ${target.name}`;
  const state = await findPipelineState(client, config.name);
  const active = (await hasSink(client, config.name, target.name)) ? [`sink ${target.name}`] : [];
  const pieces: Piece[] = [];
  const kept: Kept[] = [];
  if (state !== null && state.waiting.length > 0 && !isForced) {
    const why = `its journal has statements that were not run: restage schema finish --target ${target.name}, or --force to forget them: ${state.waiting.join(' ')}`;
    kept.push({ kind: 'state', name: 'restage', place, why });
  } else if (state !== null && state.deadLetters > 0 && !isForced) {
    const why = `${state.deadLetters} dead letters wait: restage dlq list --target ${target.name}, or --force to forget them`;
    kept.push({ kind: 'state', name: 'restage', place, why });
  } else if (state !== null) {
    const name = state.isOnly ? 'schema restage' : `rows of ${config.name} in schema restage`;
    pieces.push({ kind: 'state', name, place, remove: () => forgetPipeline(client, config.name) });
  }
  return { pieces, kept, active, close: () => client.end() };
}

async function hasSink(client: pg.Client, pipeline: string, target: string): Promise<boolean> {
  const application = `restage ${pipeline} sink ${target}`;
  const found = await client.query(
    'SELECT FROM pg_stat_activity WHERE datname = current_database() AND (application_name = $1 OR application_name = $2)',
    // PostgreSQL cuts application_name at 63 bytes.
    [application.slice(0, 63), `${application} lease`.slice(0, 63)],
  );
  return (found.rowCount ?? 0) > 0;
}
