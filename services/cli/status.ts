import type { Command } from 'commander';
import { exitCodeOf, type ExitCode } from '#core/error-policy.ts';
import { readConfig } from './config-file.ts';
import type { CliEnvironment } from './environment.ts';
import { makeLogger } from './logger.ts';
import { formatTable } from '#core/table-name.ts';
import { formatMigration } from './migration/migration-line.ts';
import type { PipelineStatus, ServiceLine } from './status-report.ts';
import { formatColumns } from './table-text.ts';

export function registerStatus(program: Command, cli: CliEnvironment): void {
  program
    .command('status')
    .description(
      'per service and target: state, position, lag in bytes, events and seconds; 2, 3 or 4 when a part of it cannot be asked',
    )
    .requiredOption('-c, --config <file>', 'configuration file')
    .option('--json', 'one JSON document on standard output', false)
    .action(async (options: { config: string; json: boolean }) => {
      const config = await readConfig(options.config, cli.env);
      const { collectStatus } = await import('./status-report.ts');
      const codes: ExitCode[] = [];
      const note = (error: unknown): number => codes.push(exitCodeOf(error));
      const report = await collectStatus(config, makeLogger(cli.env, cli.isTerminal), Date.now, note);
      cli.out(options.json ? `${JSON.stringify(report)}\n` : formatStatus(report));
      // What does not pass by itself says more than what may.
      cli.setExitCode(codes.find((code) => code !== 3) ?? codes[0] ?? 0);
    });
}

/** How far a load is; '' where none runs. */
function progressOf({ load, state }: ServiceLine): string {
  if (load === null || load.isDone || load.chunks === 0 || state === 'down') return '';
  return `load: ${load.tablesDone} of ${load.tables} tables, ${load.chunksDone} of ${load.chunks} chunks`;
}

export function formatStatus(report: PipelineStatus): string {
  const services = report.services.map((one) => [
    one.instance === '' ? one.service : `${one.service} ${one.instance}`,
    one.state,
    one.through,
    one.lagBytes,
    one.lagEvents,
    one.lagSeconds,
    one.pid === null ? '' : String(one.pid),
    one.address,
    [progressOf(one), lettersOf(one), one.detail.split('\n')[0] ?? ''].filter((part) => part !== '').join('; '),
  ]);
  const targets = report.targets.map((one) => [
    one.name,
    one.output ?? '',
    one.through ?? '',
    one.deadLetters === null ? 'not known' : one.isLoadDone ? 'done' : 'not done',
    one.lagBytes ?? '',
    one.deadLetters ?? '',
    one.heldKeys ?? '',
    one.quarantine === 'row' ? 'row: parts of transactions may show' : one.quarantine,
  ]);
  const slot = report.source?.slot ?? null;
  const source =
    report.source === null
      ? ''
      : slot === null
        ? `source at ${report.source.current}, no slot\n`
        : `source at ${report.source.current}; slot ${slot.name}: ${slot.isActive ? 'active' : 'not active'}, confirmed ${slot.confirmed ?? 'nothing'}, ` +
          `keeps ${slot.retainedBytes} bytes of WAL${slot.walStatus === null ? '' : ` (${slot.walStatus})`}\n`;
  const kept = report.source?.keptSnapshot ?? null;
  const snapshot =
    kept === null
      ? ''
      : `snapshot of the load kept since ${kept.since}: holds back vacuum at the source, ${kept.xminAge} transactions\n`;
  return [
    formatColumns(
      ['service', 'state', 'through', 'lag bytes', 'lag events', 'lag s', 'pid', 'address', 'detail'],
      services,
    ),
    formatColumns(
      ['target', 'output', 'through', 'load', 'lag bytes', 'dead letters', 'held keys', 'quarantine'],
      targets,
    ),
    source + report.services.map(({ wal }) => formatWal(wal)).join('') + snapshot,
    report.targets.map(formatForecast).join(''),
    report.targets.map(formatOrdering).join(''),
    report.targets.map(formatReplay).join(''),
    report.targets.map(({ name, migration }) => (migration === null ? '' : formatMigration(name, migration))).join(''),
    ...report.requests.map(
      ({ id, tables }) => `snapshot ${id} of ${tables.map(formatTable).join(', ')} is asked for and has not begun\n`,
    ),
    ...report.problems.map((problem) => `${problem}\n`),
  ]
    .filter((part) => part !== '')
    .join('\n');
}

/** What a reader of the target may see, where that is not what the source had at a moment (invariant 4). */
function formatOrdering({ name, ordering, lanes }: PipelineStatus['targets'][number]): string {
  if (ordering !== 'key' && lanes.length === 0) return '';
  const where = lanes.length === 0 ? '' : `; lanes at ${lanes.map(({ through }) => through).join(', ')}`;
  return `${name}: ordering: key: rows in order, parts of transactions may show${where}\n`;
}

function formatForecast({ name, forecast }: PipelineStatus['targets'][number]): string {
  const { state, inBytesPerSecond, outBytesPerSecond, eventsPerSecond, secondsLeft, limitedBy } = forecast;
  if (state === 'unknown' || state === 'paused') return '';
  const left = state === 'caught up' || secondsLeft === null ? '' : `, about ${formatSeconds(secondsLeft)} left`;
  const by = limitedBy === null ? '' : `; held back by: ${limitedBy}`;
  const rates = `${formatBytes(inBytesPerSecond)}/s of WAL come, ${formatBytes(outBytesPerSecond)}/s go, ${Math.round(eventsPerSecond)} events/s`;
  return `${name}: ${state}${left} (${rates}${by})\n`;
}

/** `1.5 MB`: powers of 1000. */
function formatBytes(bytes: number): string {
  const power = bytes < 1_000 ? 0 : Math.min(4, Math.floor(Math.log10(bytes) / 3));
  return `${(bytes / 1_000 ** power).toFixed(power === 0 ? 0 : 1)} ${['B', 'kB', 'MB', 'GB', 'TB'][power] ?? ''}`;
}

function formatSeconds(seconds: number): string {
  if (seconds < 120) return `${Math.ceil(seconds)} s`;
  return seconds < 7_200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3_600)} h`;
}

function formatReplay({ name, replay }: PipelineStatus['targets'][number]): string {
  if (replay === null) return '';
  const bound = replay.bound === null ? '' : ` up to a bound, ${replay.bound}`;
  const then = replay.isFinished
    ? `: restage replay --target ${name} --from ${replay.bound ?? replay.from} goes on from there`
    : ': under way, or cut short; the same command goes on';
  return `${name}: replay from ${replay.from}${bound}${then}\n`;
}

function formatWal(wal: PipelineStatus['services'][number]['wal']): string {
  if (wal === null) return '';
  const until =
    wal.secondsUntilFull === null
      ? ''
      : `, full in ${formatSeconds(wal.secondsUntilFull)} if nothing more were confirmed`;
  const safe = wal.safeBytes === null ? '' : `, ${wal.safeBytes} until the server gives the slot up`;
  const alarm = {
    within: '',
    above: 'ALARM: more than its budget: ',
    unreserved: 'ALARM: the server may give the slot up: ',
  };
  return `WAL: ${alarm[wal.state]}${wal.retainedBytes} bytes of ${wal.budgetBytes}${safe}; ${Math.round(wal.bytesPerSecond)} written per second${until}\n`;
}

/** What waits behind a transformer's rules, and what its policy gives up. */
function lettersOf({ deadLetters, quarantine }: ServiceLine): string {
  const waiting = (deadLetters ?? 0) > 0 ? [`${deadLetters} dead letters wait`] : [];
  const policy = quarantine === 'row' ? ['quarantine: row: parts of transactions may show'] : [];
  return [...waiting, ...policy].join('; ');
}
