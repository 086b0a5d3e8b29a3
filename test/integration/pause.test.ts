import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { startCli } from '../harness/cli.ts';
import { runCommand } from '../harness/command.ts';
import { createDatabase } from '../harness/database.ts';
import { testKafka } from '../harness/servers.ts';
import { until } from '../harness/until.ts';

test('a pause shows on services that nothing reaches, outlives them, and is for the ones that are meant', async () => {
  await using source = await createDatabase(15, 'pause_source');
  await using target = await createDatabase(15, 'pause_target');
  await source.client.query('CREATE TABLE public.t (id int PRIMARY KEY); INSERT INTO public.t VALUES (1)');
  const folder = mkdtempSync(path.join(tmpdir(), 'restage-pause-'));
  const file = path.join(folder, 'pause.yaml');
  // No manifest comes while nothing is written: none can wake a sink.
  writeFileSync(
    file,
    `name: pause-${source.name.slice(-10)}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" }, heartbeatMs: 600000 }
targets: [{ name: new, postgres: { url: "${target.url}" }, schema: create }]
`,
  );
  const states = async (): Promise<Record<string, string>> => {
    const { text } = await runCommand(['status', '-c', file, '--json']);
    const { services } = JSON.parse(text) as { services: { service: string; state: string }[] };
    return Object.fromEntries(services.map(({ service, state }) => [service, state]));
  };
  const become = (producer: string, sink: string): Promise<unknown> =>
    until(
      async () => {
        const now = await states();
        return now['producer'] === producer && now['sink'] === sink;
      },
      { what: `producer ${producer}, sink ${sink}`, everyMs: 200, timeoutMs: 60_000 },
    );
  try {
    {
      await using run = startCli(['run', '-c', file]);
      await become('streaming', 'streaming');
      expect(await runCommand(['pause', '-c', file, '--target', 'now'])).toMatchObject({ code: 2 });
      expect(await runCommand(['pause', '-c', file, '--service', 'transformer'])).toMatchObject({ code: 2 });
      expect(await runCommand(['pause', '-c', file, '--target', 'new'])).toMatchObject({ code: 0 });
      await become('streaming', 'paused');
      expect((await runCommand(['status', '-c', file, '--json'])).text).toContain('"forecast":{"state":"paused"');
      expect(await runCommand(['pause', '-c', file, '--service', 'producer'])).toMatchObject({ code: 0 });
      await become('paused', 'paused');
      expect(await run.drain()).toMatchObject({ code: 0 });
    }
    await using run = startCli(['run', '-c', file]);
    await become('paused', 'paused');
    await source.client.query('INSERT INTO public.t VALUES (2)');
    expect(await runCommand(['resume', '-c', file, '--service', 'producer'])).toMatchObject({ code: 0 });
    await become('streaming', 'paused');
    expect(await runCommand(['resume', '-c', file])).toMatchObject({ code: 0 });
    await become('streaming', 'streaming');
    const arrived = async (): Promise<boolean> => (await target.client.query('SELECT FROM public.t')).rowCount === 2;
    await until(arrived, { what: 'the row at the target' });
    await until(async () => (await runCommand(['status', '-c', file])).text.includes('\nnew: caught up ('), {
      what: 'the forecast of the target',
      everyMs: 200,
      timeoutMs: 60_000,
    });
    expect(await run.drain()).toMatchObject({ code: 0 });
  } finally {
    rmSync(folder, { recursive: true });
  }
}, 240_000);
