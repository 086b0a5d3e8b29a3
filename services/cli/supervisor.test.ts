import { pino } from 'pino';
import { expect, test } from 'vitest';
import { Supervisor } from './supervisor.ts';

const logger = pino({ level: 'silent' });

function child(name: string, script: string): { name: string; args: string[]; env: NodeJS.ProcessEnv } {
  return { name, args: [script], env: process.env };
}

test('one that needs a person stops all, with its exit code', async () => {
  const lines: string[] = [];
  const supervisor = new Supervisor([process.execPath, '-e'], logger, (line) => lines.push(line));
  const code = await supervisor.run(
    [
      child(
        'steady',
        'setInterval(() => {}, 1000); process.on("SIGTERM", () => { console.log("drained"); process.exit(0); }); console.log("up")',
      ),
      child('broken', 'setTimeout(() => process.exit(4), 300)'),
    ],
    new AbortController().signal,
  );
  expect(code).toBe(4);
  expect(lines).toContain('steady | up');
  expect(lines).toContain('steady | drained');
});

test('one that dies is started again until the signal', async () => {
  const stop = new AbortController();
  let starts = 0;
  const supervisor = new Supervisor([process.execPath, '-e'], logger, () => {
    starts += 1;
    if (starts === 2) stop.abort();
  });
  const killed = child('killed', 'console.log("up"); setTimeout(() => process.kill(process.pid, "SIGKILL"), 50)');
  expect(await supervisor.run([killed], stop.signal)).toBe(0);
  expect(starts).toBe(2);
});
