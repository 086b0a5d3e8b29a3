import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Locator, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openPage } from '../harness/browser.ts';
import { runCli, startCli, type CliProcess } from '../harness/cli.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { testKafka } from '../harness/servers.ts';
import { until } from '../harness/until.ts';

/** A table of this name is legal; what the page says of it must stay text. */
const HOSTILE = '<img src=x onerror=alert(1)>';
const PHONE = { width: 390, height: 844 };

let source: TestDatabase;
let target: TestDatabase;
let folder: string;
let config: string;

beforeAll(async () => {
  source = await createDatabase(15, 'page_source');
  target = await createDatabase(15, 'page_target');
  await source.client.query(`
    CREATE TABLE public.orders (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, amount int);
    CREATE TABLE public."${HOSTILE}" (id int PRIMARY KEY, note text);
    INSERT INTO public.orders (amount) SELECT n FROM generate_series(1, 200) n;
    INSERT INTO public."${HOSTILE}" VALUES (1, 'first');
  `);
  folder = await mkdtemp(path.join(tmpdir(), 'restage-page-'));
  config = path.join(folder, 'restage.yaml');
  await writeFile(
    config,
    `
name: ${source.name.replaceAll('_', '-')}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" } }
transform:
  outputs:
    - { name: main, version: 1, rules: [{ table: public.orders, rename: public.sales }] }
targets:
  - { name: new, postgres: { url: "${target.url}" }, schema: create }
`,
  );
});

afterAll(async () => {
  await source[Symbol.asyncDispose]();
  await target[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

test('the page shows the services at work, paused, failed and gone, and the metrics say the same', async () => {
  await using producer = startCli(['producer', '-c', config]);
  await using transformer = startCli(['transformer', '-c', config]);
  await using sink = startCli(['sink', '-c', config, '--target', 'new']);
  await using browser = await openPage(await addressOf(producer));
  const { page, faults } = browser;
  const boxes = ['producer', 'transformer main', 'sink new'].map((name) => boxOf(page, name));
  for (const box of boxes) await showsState(box, 'streaming');
  await showsFact(boxOf(page, 'target new'), 'load', 'done');
  await showsFact(boxOf(page, 'sink new'), '· snapshot', '201');

  await write(50);
  for (const box of boxes) await showsFact(box, '· insert', '50');
  const position = await fact(boxOf(page, 'sink new'), 'position');

  await restage('pause', '--target', 'new');
  await write(7);
  await showsState(boxOf(page, 'sink new'), 'paused');
  await showsFact(boxOf(page, 'sink new'), 'waiting', '7 events');
  const metrics = `${await addressOf(sink)}/metrics`;
  await until(async () => (await lag(metrics, 'events')) === 7, { what: 'the waiting events in the metrics' });
  expect(await lag(metrics, 'bytes')).toBeGreaterThan(0);
  expect(await lag(metrics, 'seconds')).toBeGreaterThan(0);
  expect(await fact(boxOf(page, 'sink new'), 'position')).toBe(position);

  await restage('resume', '--target', 'new');
  await showsFact(boxOf(page, 'sink new'), '· insert', '57');
  await until(async () => (await lag(metrics, 'events')) === 0 && (await lag(metrics, 'bytes')) === 0, {
    what: 'no lag in the metrics',
  });
  await showsFact(boxOf(page, 'sink new'), 'waiting', null);

  await expectReadable(page);
  await target.client.query(`DELETE FROM public."${HOSTILE}"`);
  await source.client.query(`UPDATE public."${HOSTILE}" SET note = 'second'`);
  expect(await sink.result()).toMatchObject({ code: 4 });
  await until(async () => (await boxOf(page, 'sink new').innerText()).includes(HOSTILE), {
    what: "the failed sink's table on the page",
  });
  expect(await page.locator('img').count()).toBe(0);

  transformer.kill('SIGKILL');
  await showsState(boxOf(page, 'transformer main'), 'down');
  await expectReadable(page);
  expect(faults).toEqual([]);
}, 120_000);

async function write(rows: number): Promise<void> {
  for (let row = 0; row < rows; row += 1) await source.client.query('INSERT INTO public.orders (amount) VALUES (1)');
}

async function restage(command: string, ...args: string[]): Promise<void> {
  const result = await runCli([command, '-c', config, ...args]);
  expect(result, result.stderr).toMatchObject({ code: 0 });
}

async function addressOf(service: CliProcess): Promise<string> {
  const [, address = ''] = await service.output(/"address":"([^"]+)"/);
  return address;
}

function boxOf(page: Page, name: string): Locator {
  return page.getByRole('article', { name, exact: true });
}

async function showsState(box: Locator, state: string): Promise<void> {
  await until(async () => (await box.locator('.chip').innerText({ timeout: 1_000 })) === state, {
    what: `${String(box)} showing ${state}`,
    timeoutMs: 45_000,
  });
}

async function showsFact(box: Locator, name: string, value: string | null): Promise<void> {
  await until(async () => ((await fact(box, name)) === value ? true : null), {
    what: `${String(box)} showing ${name} ${value}`,
    timeoutMs: 45_000,
  });
}

/** The figure beside its name; null when it is not shown. Read at once, since the page is drawn anew every second. */
async function fact(box: Locator, name: string): Promise<string | null> {
  const lines = (await box.innerText()).split('\n').map((line) => line.trim());
  const at = lines.indexOf(name);
  return at < 0 ? null : (lines[at + 1] ?? null);
}

async function lag(metrics: string, unit: string): Promise<number> {
  const text = await (await fetch(metrics)).text();
  return Number(new RegExp(`^restage_lag_${unit}\\{service="sink",instance="new"\\} (\\S+)$`, 'm').exec(text)?.[1]);
}

/** Runs in the page. */
const MEASURE = `(() => {
  const texts = [...document.querySelectorAll('main *, header *')].filter(
    (one) => one.checkVisibility() && one.children.length === 0 && one.textContent !== '',
  );
  const named = (one) => one.tagName + ' ' + one.textContent;
  return {
    width: document.documentElement.scrollWidth,
    outside: texts.filter((one) => one.getBoundingClientRect().right > innerWidth).map(named),
    small: texts.filter((one) => parseFloat(getComputedStyle(one).fontSize) < 11).map(named),
    texts: texts.length,
  };
})()`;

/** On a phone nothing is wider than the screen, cut off or too small. */
async function expectReadable(page: Page): Promise<void> {
  await page.setViewportSize(PHONE);
  const found: unknown = await page.evaluate(MEASURE);
  expect(found).toEqual({
    width: PHONE.width,
    outside: [],
    small: [],
    texts: expect.toSatisfy((count: number) => count > 30),
  });
}
