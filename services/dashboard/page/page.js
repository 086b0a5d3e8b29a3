import { bytes, count, rate, seconds } from './format.js';

const POLL_MS = 1_000;
const STALE_MS = 5_000;
const SAMPLES = 60;
const SAME_WORD_MS = 500;
const OPERATIONS = ['snapshot', 'insert', 'update', 'delete', 'truncate'];
const TONES = {
  streaming: 'good',
  loading: 'busy',
  indexing: 'busy',
  starting: 'busy',
  standby: 'idle',
  paused: 'warn',
  held: 'warn',
  retrying: 'warn',
  draining: 'warn',
  stopped: 'idle',
  failed: 'bad',
  down: 'bad',
};

/** Events per second of each service, newest last. */
const rates = new Map();
const totals = new Map();
let answeredAt = 0;
let problem = '';

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const keyOf = (line) => `${line.service}/${line.instance}`;
const toneOf = (line) => TONES[line?.state] ?? 'idle';
const totalOf = (line) => Object.values(line.events ?? {}).reduce((sum, part) => sum + part, 0);

/** A service says its figures every 2 s: a look in between would see a rate of nothing. */
function sample(lines, answeredMs) {
  for (const line of lines) {
    const key = keyOf(line);
    const total = totalOf(line);
    const before = totals.get(key);
    const at = answeredMs - (line.silentSeconds ?? 0) * 1_000;
    if (line.silentSeconds === null || (before !== undefined && at - before.at < SAME_WORD_MS)) continue;
    const known = rates.get(key) ?? [];
    // A restarted service counts from 0: no rate for that step.
    if (before !== undefined) known.push(Math.max(0, ((total - before.total) * 1_000) / (at - before.at)));
    rates.set(key, known.slice(-SAMPLES));
    totals.set(key, { total, at });
  }
}

function newestRate(line) {
  if (line?.state === 'down') return 0;
  return (line && rates.get(keyOf(line))?.at(-1)) ?? 0;
}

function sparkline(line) {
  const points = rates.get(keyOf(line)) ?? [];
  const top = Math.max(1, ...points);
  const path = points
    .map((value, at) => `${at === 0 ? 'M' : 'L'}${SAMPLES - points.length + at} ${30 - (value / top) * 28}`)
    .join(' ');
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  svg.setAttribute('class', 'spark');
  svg.setAttribute('viewBox', `0 0 ${SAMPLES - 1} 32`);
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', `events per second lately, now ${rate(newestRate(line))}`);
  const drawn = document.createElementNS(space, 'path');
  drawn.setAttribute('d', path);
  svg.append(drawn);
  return svg;
}

function facts(pairs) {
  const list = element('dl');
  for (const [name, value] of pairs)
    if (value !== undefined && value !== '') list.append(element('dt', {}, name), element('dd', {}, value));
  return list;
}

function box(kind, title, tone, ...content) {
  const attributes = { class: `box ${tone}`, 'aria-label': `${kind} ${title}`.trim() };
  return element(
    'article',
    attributes,
    element('h2', {}, kind),
    ...(title === '' ? [] : [element('h3', {}, title)]),
    ...content,
  );
}

function serviceBox(line) {
  const parts = [element('span', { class: `chip ${toneOf(line)}` }, line.state)];
  if (line.detail) parts.push(element('p', { class: 'detail' }, line.detail));
  // What a silent service said of its lag is no longer so.
  const isDown = line.state === 'down';
  const load = line.load;
  if (load && !load.isDone && load.chunks > 0) {
    const label = `initial load: ${load.chunksDone} of ${load.chunks} chunks`;
    parts.push(element('progress', { max: load.chunks, value: load.chunksDone, 'aria-label': label }));
    parts.push(
      facts([
        ['chunks', `${count(load.chunksDone)} / ${count(load.chunks)}`],
        ['tables', `${count(load.tablesDone)} / ${count(load.tables)}`],
        ['rows', count(load.rows)],
      ]),
    );
  }
  parts.push(
    facts([
      ['position', line.through || '–'],
      ['lag', isDown ? undefined : `${bytes(line.lagBytes)}, ${seconds(line.lagSeconds)}`],
      ['waiting', !isDown && line.lagEvents > 0 ? `${count(line.lagEvents)} events` : undefined],
      ['rate', isDown ? undefined : rate(newestRate(line))],
      ['events', count(totalOf(line))],
      ...OPERATIONS.map((name) => [`· ${name}`, line.events?.[name] > 0 ? count(line.events[name]) : undefined]),
    ]),
    sparkline(line),
  );
  return box(line.service, line.instance, toneOf(line), ...parts);
}

function sourceBox(overview, producer) {
  const slot = overview.source?.slot;
  const isLost = slot?.walStatus === 'lost' || slot?.walStatus === 'unreserved';
  const isTight = producer?.wal != null && producer.wal.state !== 'within';
  return box(
    'source',
    'PostgreSQL',
    isLost || isTight ? 'bad' : overview.source ? 'good' : 'idle',
    facts([
      ['end of WAL', overview.source?.current],
      [
        'slot',
        slot
          ? `${slot.isActive ? 'active' : 'inactive'}${isLost ? `, ${slot.walStatus}` : ''}`
          : overview.source
            ? 'none'
            : undefined,
      ],
      ['confirmed', slot?.confirmed ?? undefined],
      ['keeps WAL', bytes(slot?.retainedBytes ?? producer?.retainedWalBytes ?? 0)],
      ['of', producer?.wal ? bytes(producer.wal.budgetBytes) : undefined],
      ['full in', isTight ? `${Math.round(producer.wal.secondsUntilFull ?? 0)} s at this rate` : undefined],
    ]),
  );
}

function targetBox(target) {
  const loaded = target.isLoadDone;
  return box(
    'target',
    target.name,
    target.through === null ? 'idle' : !loaded || target.deadLetters > 0 ? 'busy' : 'good',
    facts([
      ['position', target.through ?? '–'],
      ['load', loaded ? 'done' : 'not done'],
      ['lag', target.lagBytes === null || target.lagBytes === undefined ? 'unknown' : bytes(target.lagBytes)],
      ...(target.deadLetters > 0 ? [['dead letters', `${target.deadLetters}, ${target.heldKeys} rows wait`]] : []),
    ]),
  );
}

function kafkaBox(title, topics) {
  return box('Kafka', title, 'idle', element('p', { class: 'detail' }, topics));
}

function drawFlow(overview, lines) {
  const of = (service) => lines.filter((line) => line.service === service);
  const [producer] = of('producer');
  const transformers = of('transformer');
  const stages = [{ boxes: [sourceBox(overview, producer)], from: undefined, slim: true }];
  if (producer) stages.push({ boxes: [serviceBox(producer)], from: producer });
  stages.push({
    boxes: [kafkaBox('raw topics', overview.name ? `${overview.name}.epochs` : '')],
    from: producer,
    slim: true,
  });
  if (transformers.length > 0) {
    stages.push({ boxes: transformers.map(serviceBox), from: transformers[0] });
    stages.push({
      boxes: transformers.map((line) => kafkaBox('shaped topics', line.instance)),
      from: transformers[0],
      slim: true,
    });
  }
  const sinks = of('sink');
  stages.push({ boxes: sinks.map(serviceBox), from: sinks[0] });
  const targets =
    overview.targets ??
    sinks.map((line) => ({
      name: line.instance,
      through: line.through || null,
      isLoadDone: line.load?.isDone,
      lagBytes: line.lagBytes,
    }));
  stages.push({ boxes: targets.map(targetBox), from: sinks[0], slim: true });
  const flow = document.getElementById('flow');
  flow.replaceChildren();
  for (const { boxes, from, slim } of stages.filter((stage) => stage.boxes.length > 0)) {
    const isLive = newestRate(from) > 0;
    if (flow.childElementCount > 0)
      flow.append(element('div', { class: `link${isLive ? ' live' : ''}`, 'aria-hidden': 'true' }));
    flow.append(element('div', { class: `stage${slim ? ' slim' : ''}` }, ...boxes));
  }
}

function drawSummary(overview, lines) {
  const worst = [
    'failed',
    'down',
    'retrying',
    'paused',
    'held',
    'draining',
    'stopped',
    'starting',
    'indexing',
    'loading',
  ].find((state) => lines.some((line) => line.state === state));
  const sinks = lines.filter((line) => line.service === 'sink');
  const applied = sinks.reduce((sum, line) => sum + newestRate(line), 0);
  const produced = newestRate(lines.find((line) => line.service === 'producer'));
  const heard = lines.filter((line) => line.state !== 'down');
  const largest = (read) => Math.max(0, ...heard.map(read), ...(overview.targets ?? []).map(read));
  const figures = [
    [worst ?? 'streaming', 'pipeline', TONES[worst ?? 'streaming']],
    [rate(produced), 'captured'],
    [rate(applied), 'applied'],
    [seconds(largest((line) => line.lagSeconds ?? 0)), 'largest lag'],
    [bytes(largest((line) => line.lagBytes ?? 0)), 'largest lag in WAL'],
  ];
  document
    .getElementById('summary')
    .replaceChildren(
      ...figures.map(([value, name, tone = '']) =>
        element('div', { class: `figure ${tone}` }, element('b', {}, value), element('span', {}, name)),
      ),
    );
}

/** A sink cannot see the source's end; its target's line can. */
function withTargetLag(line, overview) {
  if (line.service !== 'sink') return line;
  const target = overview.targets?.find((found) => found.name === line.instance);
  return { ...line, lagBytes: target?.lagBytes ?? line.lagBytes };
}

function draw({ at, overview }) {
  const lines = (overview.services ?? []).map((record) =>
    withTargetLag(record.status ? { ...record, ...record.status } : record, overview),
  );
  sample(lines, at);
  document.getElementById('name').textContent = overview.name ?? '';
  document.title = overview.name ? `${overview.name} – Restage` : 'Restage';
  drawSummary(overview, lines);
  drawFlow(overview, lines);
  const notes = document.getElementById('notes');
  notes.hidden = (overview.problems ?? []).length === 0;
  notes.replaceChildren(...(overview.problems ?? []).map((text) => element('p', {}, text)));
}

function drawFreshness() {
  const age = Date.now() - answeredAt;
  const isStale = age > STALE_MS;
  const chip = document.getElementById('freshness');
  chip.className = `chip ${answeredAt === 0 ? 'idle' : isStale ? 'bad' : 'good'}`;
  chip.textContent = answeredAt === 0 ? 'connecting' : isStale ? 'stale' : 'live';
  const banner = document.getElementById('stale');
  banner.hidden = !isStale || (answeredAt === 0 && problem === '');
  banner.textContent =
    answeredAt === 0 ? `No data yet: ${problem}` : `Stale: these figures are ${seconds(age / 1_000)} old. ${problem}`;
  document.body.classList.toggle('is-stale', answeredAt !== 0 && isStale);
}

async function poll() {
  try {
    const answer = await fetch('/overview', { signal: AbortSignal.timeout(STALE_MS) });
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    draw(await answer.json());
    answeredAt = Date.now();
    problem = '';
  } catch (error) {
    problem = error instanceof Error ? error.message : String(error);
  }
  drawFreshness();
  setTimeout(() => void poll(), POLL_MS);
}

setInterval(drawFreshness, POLL_MS);
void poll();
