import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { loadConfig } from '#core/config-load.ts';
import { parseJournal } from '#core/migration/journal.ts';
import { takeWaitingNotes } from '../../services/cli/migration/audit.ts';
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
  const audit = async (): Promise<string[]> => {
    const { rows } = await target.client.query<{ record: string }>(
      'SELECT record FROM restage.migration_record ORDER BY seq',
    );
    return parseJournal(
      rows.map(({ record }) => record),
      'here',
    ).map(({ entry }) => (entry.kind === 'acted' ? entry.action : entry.kind));
  };
  const phase = async (): Promise<string> => {
    const { text } = await runCommand(['status', '-c', file]);
    return /new: migration (\w+); the source is live; next: .*; how long: .*; can go back: .*/.exec(text)?.[1] ?? text;
  };
  const isReadOnly = (value: 'on' | 'off'): Promise<unknown> =>
    target.client.query(`ALTER DATABASE "${target.name}" SET default_transaction_read_only = ${value}`);
  try {
    expect(await phase()).toBe('NEW');
    expect(await runCommand(['check', '-c', file])).toMatchObject({ code: 0 });
    expect(await phase()).toBe('CHECKED');
    // What blocks since then is met by the gate before the copy.
    await isReadOnly('on');
    expect(await runCommand(['run', '-c', file])).toMatchObject({
      code: 4,
      text: expect.stringMatching(/not_ready[^]*target\.read_only[^]*--unchecked/),
    });
    // Its audit cannot be written to now: Kafka keeps the note.
    expect(await runCommand(['pause', '-c', file, '--service', 'sink'])).toMatchObject({ code: 0 });
    expect(await audit()).toEqual(['checked']);
    await isReadOnly('off');
    expect(await runCommand(['resume', '-c', file])).toMatchObject({ code: 0 });
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
    expect(await phase()).toBe('STREAMING');
    await source.client.query('ALTER TABLE public.t ADD COLUMN more int');
    expect((await runCommand(['check', '-c', file])).text).toMatch(/scope\.drift[^]*public\.t/);
    const config = loadConfig(readFileSync(file, 'utf8'), file, {});
    const told = ['checked', 'resume', 'checked', 'pause', 'pause', 'resume', 'resume', 'checked'];
    expect(await audit()).toEqual(told);
    for (let times = 0; times < 2; times += 1)
      for (const one of config.targets) await takeWaitingNotes(config, one, pino({ level: 'silent' }));
    expect(await audit()).toEqual([...told, 'pause']);
    // Somebody's hand in the audit is met by every command that goes by it, and hides nothing else.
    for (const change of [`replace(record, '"pause"', '"resume"')`, `'deleted by hand'`]) {
      await target.client.query(`UPDATE restage.migration_record SET record = ${change}`);
      expect(await runCommand(['cutover', '-c', file, '--target', 'new', '--yes'])).toMatchObject({
        code: 4,
        text: expect.stringMatching(
          /not believed; restage\.side there has the target as closed[^]*state_damaged[^]*record \d/,
        ) as string,
      });
      expect(await runCommand(['status', '-c', file])).toMatchObject({
        code: 4,
        text: expect.stringMatching(/new .* done [^]*was altered/) as string,
      });
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}, 240_000);
