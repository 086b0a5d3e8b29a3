import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';

/** Logs what could ever be logged by mistake: a whole configuration, and errors that quote addresses. */
const SCRIPT = `
  import { makeLogger } from './services/cli/logger.ts';
  import { RestageError } from './services/core/errors.ts';
  const logger = makeLogger({ RESTAGE_LOG: 'trace', RESTAGE_LOG_FORMAT: process.argv[1] }, false);
  const url = 'postgresql://mover:hunter2@127.0.0.1:5432/shop';
  const config = { source: { url }, kafka: { sasl: { mechanism: 'PLAIN', username: 'mover', password: 'hunter2' } } };
  logger.info({ config, deeper: { and: { deeper: config } } }, 'configuration of ' + url);
  const cause = Object.assign(new Error('no answer from ' + url), { options: config.kafka, input: url });
  logger.error({ err: new RestageError('source_unreachable', 'cannot reach ' + url, { where: url, cause }) }, 'failed');
  logger.child({ password: 'hunter2' }).warn('of a child');
`;

test.each(['json', 'pretty'])(
  'no password passes in %s, whatever is logged',
  (format) => {
    const { stderr, status } = spawnSync(
      process.execPath,
      ['--import', 'tsx', '--input-type=module', '-e', SCRIPT, format],
      { encoding: 'utf8', cwd: new URL('../..', import.meta.url) },
    );
    expect(status, stderr).toBe(0);
    expect(stderr).toContain('mover:***@127.0.0.1:5432/shop');
    expect(stderr).toContain('of a child');
    expect(stderr).not.toContain('hunter2');
    if (format !== 'json') return;
    // A line stays a document.
    const lines = stderr
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { msg: string });
    expect(lines.map(({ msg }) => msg)).toEqual([
      'configuration of postgresql://mover:***@127.0.0.1:5432/shop',
      'failed',
      'of a child',
    ]);
  },
  30_000,
);
