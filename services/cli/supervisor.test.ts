import { pino } from 'pino';
import { expect, test } from 'vitest';
import { Supervisor } from './supervisor.ts';

const logger = pino({ level: 'silent' });

function child(name: string, script: string): { name: string; args: string[]; env: NodeJS.ProcessEnv } {
  return { name, args: [script], env: process.env };
}

test('the last one that others are there for stops all when it needs a person, with its exit code', async () => {
  const lines: string[] = [];
  const supervisor = new Supervisor([process.execPath, '-e'], logger, (line) => lines.push(line));
  const code = await supervisor.run(
    [
      {
        ...child(
          'steady',
          'setInterval(() => {}, 1000); process.on("SIGTERM", () => { console.log("drained"); process.exit(0); }); console.log("up")',
        ),
        isEnd: false,
      },
      child('broken', 'setTimeout(() => process.exit(4), 300)'),
    ],
    new AbortController().signal,
  );
  expect(code).toBe(4);
  expect(lines).toContain('steady | up');
  expect(lines).toContain('steady | drained');
});

test('what needs one that stopped for a person is drained; the others go on', async () => {
  const stop = new AbortController();
  const lines: string[] = [];
  const supervisor = new Supervisor([process.execPath, '-e'], logger, (line) => {
    lines.push(line);
    const since = lines.slice(lines.indexOf('sink a | drained'));
    if (since[0] === 'sink a | drained' && since.filter((one) => one === 'sink b | at work').length === 2) stop.abort();
  });
  const steady =
    'setInterval(() => {}, 1000); process.on("SIGTERM", () => { console.log("drained"); process.exit(0); }); console.log("up")';
  const code = await supervisor.run(
    [
      { ...child('producer', steady), isEnd: false },
      { ...child('shaper', 'setTimeout(() => process.exit(4), 700)'), needs: ['producer'], isEnd: false },
      { ...child('sink a', steady), needs: ['shaper'] },
      { ...child('sink b', `${steady}; setInterval(() => console.log("at work"), 50)`), needs: ['producer'] },
    ],
    stop.signal,
  );
  expect(code).toBe(4);
  expect(lines.indexOf('producer | drained')).toBeGreaterThan(lines.lastIndexOf('sink b | at work') - 2);
  expect(lines).toContain('sink b | drained');
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
