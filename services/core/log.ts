import type { Logger as PinoLogger } from 'pino';

/** The logger that every part is handed; there is no global one. */
export type Logger = PinoLogger;
