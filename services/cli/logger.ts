import { pino } from 'pino';
import { PinoPretty } from 'pino-pretty';
import type { Environment } from '#core/config-expand.ts';
import type { Logger } from '#core/log.ts';

const STDERR = 2;
const LEVELS: ReadonlySet<string> = new Set(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']);
const SECRET_KEYS = ['password', 'sasl', 'url'];

/**
 * Logs to standard error: JSON, one line each, or readable lines on a terminal (and where RESTAGE_LOG_FORMAT=pretty).
 * RESTAGE_LOG sets the level. Passwords never pass (invariant 8): not by key, not inside a URL in any text.
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
      redact: { paths: SECRET_KEYS.flatMap((key) => [key, `*.${key}`, `*.*.${key}`]), censor: '***' },
      hooks: { streamWrite: hideUrlPasswords },
    },
    destination,
  );
}

/** `scheme://user:password@host` with the password gone. */
export function hideUrlPasswords(text: string): string {
  return text.replaceAll(/([a-z][a-z0-9+.-]*:\/\/[^\s:@/"']*):[^\s@/"']*@/gi, '$1:***@');
}
