import type { Environment } from '#core/config-expand.ts';

const VARIABLE = 'RESTAGE_WATCH_PARENT';

/** For the environment of a child whose standard input is a pipe of ours: it ends when we end, however that comes. */
export const WATCHED: Readonly<Record<string, string>> = { [VARIABLE]: '1' };

/** For the environment of a process that is to outlive us. */
export const UNWATCHED: Readonly<Record<string, undefined>> = { [VARIABLE]: undefined };

/** Drains when the parent that asked for it is gone, a killed one too: nothing is left running without it. */
export function watchParent(env: Environment, stdin: NodeJS.ReadStream, onGone: () => void): void {
  if (env[VARIABLE] !== '1') return;
  stdin.once('end', onGone).once('error', onGone).resume();
}
