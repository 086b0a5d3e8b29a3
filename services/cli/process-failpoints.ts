import { writeSync } from 'node:fs';
import { countFailpoints, parseFailpoints, type Failpoints } from '#core/failpoints.ts';

const STANDARD_ERROR = 2;
const SIGNALS = { kill: 'SIGKILL', stop: 'SIGSTOP' } as const;

/** Those of this process, armed by RESTAGE_FAILPOINTS alone. @throws RestageError usage. */
export function processFailpoints(env: NodeJS.ProcessEnv): Failpoints {
  return countFailpoints(parseFailpoints(env['RESTAGE_FAILPOINTS'] ?? ''), ({ name, action }) => {
    // Written at once: nothing that is buffered outlives what follows.
    writeSync(STANDARD_ERROR, `failpoint ${name}: ${action}\n`);
    if (action !== 'say') process.kill(process.pid, SIGNALS[action]);
  });
}
