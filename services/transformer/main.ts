import { createConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { createGroupLease } from '#adapters/kafka/group-lease.ts';
import type { Config } from '#core/config.ts';
import type { ServiceContext } from '#core/control.ts';
import { RestageError } from '#core/errors.ts';
import { findOutput } from '#core/output-ref.ts';
import { supervise } from '#core/supervise.ts';
import { runLanes } from './lanes.ts';
import { outputNames, shapeOutput } from './output-work.ts';

export interface TransformerOptions {
  readonly acceptsRules?: boolean;
  /** With `ordering: key`: how many lanes it takes at once. Absent: as many as are free. */
  readonly lanes?: number | undefined;
}

/**
 * The transformer of one output: `<name>.*` → `<name>.shaped.<output>.v<N>.*`, one active instance by group membership, or with
 * `ordering: key` one for each of its lanes.
 */
export async function main(
  config: Config,
  outputName: string,
  context: ServiceContext,
  { acceptsRules = false, lanes }: TransformerOptions = {},
): Promise<void> {
  const { logger, status, signal } = context;
  const output = findOutput(config.outputs, outputName);
  if (output === undefined)
    throw new RestageError('usage', `there is no output ${JSON.stringify(outputName)}`, { where: config.file });
  const { id } = outputNames(config, output);
  if (output.ordering === 'key') return runLanes({ config, output, context, acceptsRules }, lanes);
  const pool = createConnectionPool(config.kafka, { clientId: id, logger });
  const lease = createGroupLease({ pool, group: id, logger });
  const work = { config, output, context, status, pool, acceptsRules, lane: null };
  try {
    await supervise({ status, logger, signal, lease, clock: Date.now }, () => shapeOutput(work, lease, signal));
  } finally {
    await lease.release();
    await pool.close();
  }
}
