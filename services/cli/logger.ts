import { pino } from 'pino';
import { PinoPretty } from 'pino-pretty';
import type { Environment } from '#core/config-expand.ts';
import type { Logger } from '#core/log.ts';
import { hideSecrets } from '#core/secrets.ts';

const STDERR = 2;
const LEVELS: ReadonlySet<string> = new Set(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']);

/**
 * Logs to standard error: JSON, one line each, or readable lines on a terminal (and where RESTAGE_LOG_FORMAT=pretty).
 * RESTAGE_LOG sets the level. Passwords never pass (invariant 8): not by key at any depth, not inside any text.
 */
export function makeLogger(env: Environment, isTerminal: boolean): Logger {
  const wanted = env['RESTAGE_LOG'] ?? 'info';
  const isPretty = env['RESTAGE_LOG_FORMAT'] === undefined ? isTerminal : env['RESTAGE_LOG_FORMAT'] === 'pretty';
  const destination = isPretty
    ? PinoPretty({
        destination: STDERR,
        sync: true,
        ignore: 'pid,hostname',
        translateTime: 'SYS:HH:MM:ss.l',
        colorize: isTerminal,
      })
    : pino.destination({ dest: STDERR, sync: true });
  return pino(
    {
      level: LEVELS.has(wanted) ? wanted : 'info',
      base: { pid: process.pid },
      hooks: { streamWrite: hideSecrets },
    },
    destination,
  );
}
