import {
  entriesOf,
  type MigrationReport,
  type SwitchReport,
  type TargetReport,
} from '#core/migration/migration-report.ts';
import { escapeHtml } from '../escape-html.ts';
import { columnChart, htmlPage, htmlTable, spanChart, type HtmlCell } from '../html-page.ts';

const SHOWN = 200;

/** One self-contained page; of targets that are switched as one, all of them. */
export function reportHtml(report: MigrationReport): string {
  const { pipeline, target, phase, live, next, canGoBack, madeAt, versions, risks, joined } = report;
  const others = joined.map((one) => one.target);
  const facts: [string, string][] = [
    ['live', `the ${live}`],
    ['next', next],
    ['can go back', canGoBack],
    ...(others.length === 0 ? [] : [['together with', others.join(', ')] as [string, string]]),
    ['written', madeAt],
    ...Object.entries(versions),
  ];
  const title = `Migration ${pipeline} → ${[target, ...others].join(', ')}`;
  return htmlPage(
    title,
    [
      `<h1>${escapeHtml(title)}: ${escapeHtml(phase)}</h1>${htmlTable(['', ''], facts)}`,
      section(
        'Open risks',
        risks.length === 0
          ? '<p>none</p>'
          : htmlTable(
              ['what', 'what to do'],
              risks.map(({ what, fix }) => [what, fix]),
            ),
      ),
      section('Checks', checks(report)),
      section('Rates', rates(report)),
      ...report.switches.map(switchSection),
      ...targetSections(report, others.length > 0),
      ...joined.flatMap((one) =>
        'missing' in one ? [section(`Target ${one.target}`, missing(one.missing))] : targetSections(one, true),
      ),
    ].join('\n'),
  );
}

/** What is a target's own; `isOneOfSeveral`: headings name it. */
function targetSections(report: Omit<TargetReport, 'version'>, isOneOfSeveral: boolean): string[] {
  const of = isOneOfSeveral ? ` of ${report.target}` : '';
  return [
    section(`Plan${of}`, htmlTable(['', ''], report.plan)),
    section(`Structure${of}`, structure(report)),
    section(`Rows and bytes${of}`, tables(report)),
    section(`Verification${of}`, verification(report)),
    section(`Audit${of}`, audit(report)),
  ];
}

function section(title: string, body: string): string {
  return `<h2>${escapeHtml(title)}</h2>${body}`;
}

function missing(why: string): string {
  return `<p class="failed">${escapeHtml(why)}</p>`;
}

function checks({ checks: found }: MigrationReport): string {
  if ('missing' in found) return missing(found.missing);
  if (found.length === 0) return '<p>nothing was found</p>';
  return htmlTable(
    ['', 'check', 'what', 'seen', 'what to do'],
    found.map(({ severity, id, what, evidence, fix }) => [{ text: severity, is: severity }, id, what, evidence, fix]),
  );
}

function structure({ structure: found }: Pick<TargetReport, 'structure'>): string {
  if ('missing' in found) return missing(found.missing);
  const { differences, columnsOnly } = found;
  const note =
    columnsOnly.length === 0 ? '' : `<p>Of these only columns were compared: ${escapeHtml(columnsOnly.join(', '))}</p>`;
  if (differences.length === 0) return `<p class="equal">The structures are alike.</p>${note}`;
  return `${htmlTable(
    ['', 'kind', 'name', 'source', 'target'],
    differences
      .slice(0, SHOWN)
      .map(({ is, kind, name, source, target }) => [is, kind, name, source ?? '', target ?? '']),
  )}${more(differences.length)}${note}`;
}

function tables({ tables: found, loadedRows }: Pick<TargetReport, 'tables' | 'loadedRows'>): string {
  const rows = found.slice(0, SHOWN).map(({ table, rows: count, bytes }) => [table, count, bytes]);
  return `<p>${loadedRows.toLocaleString('en')} rows came with the initial load. The numbers below are the source's estimates.</p>${htmlTable(['table', 'rows', 'bytes'], rows)}${more(found.length)}`;
}

function rates({ rates: found }: MigrationReport): string {
  if ('missing' in found) return missing(found.missing);
  const [first, last] = [found[0], found.at(-1)];
  if (first === undefined || last === undefined) return '<p>no changes yet</p>';
  const values = found.map(({ perSecond }) => perSecond);
  return `<p>Changes per second, by when they were committed.</p>${columnChart(values, 'Changes per second', [first.from, last.until])}`;
}

function verification({ audit: records }: Pick<TargetReport, 'audit'>): string {
  const verified = entriesOf(records, 'verified').map(({ at, by, verdict, rows, seconds, since }): HtmlCell[] => [
    at,
    by,
    { text: verdict, is: verdict },
    rows,
    `${seconds.toFixed(1)} s`,
    since ?? '',
  ]);
  const repaired = entriesOf(records, 'repaired').map(({ at, by, rows, lsn, tables: names }): HtmlCell[] => [
    at,
    by,
    'repaired',
    rows,
    names.join(', '),
    lsn,
  ]);
  if (verified.length + repaired.length === 0) return '<p class="failed">The rows were never verified.</p>';
  return htmlTable(['when', 'by', '', 'rows', 'took, or which', 'LSN'], [...verified, ...repaired]);
}

/** Its steps in milliseconds, with a chart. */
export function switchSection({ to, startedAt, timeBoxMs, steps, unavailableMs, aborted }: SwitchReport): string {
  const title = `${to === 'target' ? 'Cutover' : 'Rollback'} of ${startedAt}`;
  const how =
    aborted === null
      ? unavailableMs === null
        ? 'It has not ended.'
        : `The ${to} is live since; writes were refused for ${unavailableMs.toLocaleString('en')} ms.`
      : `Everything was undone: ${aborted}`;
  const rows = steps.map(({ name, ms, endedAt, evidence }): HtmlCell[] => [
    name,
    ms,
    endedAt,
    Object.entries(evidence)
      .map(([key, value]) => `${key} ${String(value)}`)
      .join(', '),
  ]);
  const spans = steps.map(({ name, ms }) => ({ name, length: ms, label: `${ms} ms`, ok: aborted === null }));
  return section(
    title,
    `<p>${escapeHtml(how)} Time-box ${timeBoxMs.toLocaleString('en')} ms.</p>${spanChart(spans, title)}${htmlTable(['step', 'ms', 'ended', 'evidence'], rows)}`,
  );
}

function audit({ audit: records }: Pick<TargetReport, 'audit'>): string {
  const rows = records.map(({ seq, at, by, term, entry, hash }): HtmlCell[] => {
    const { kind, ...rest } = entry;
    return [seq, at, by, term, kind, JSON.stringify(rest), hash.slice(0, 16)];
  });
  const last = records.at(-1);
  const whole =
    last === undefined
      ? 'No record yet.'
      : `${records.length} records; the chain of hashes is whole and ends in ${last.hash}.`;
  return `<p>${whole}</p>${htmlTable(['number', 'when', 'by', 'term', 'what', 'with', 'hash'], rows)}`;
}

function more(count: number): string {
  return count <= SHOWN ? '' : `<p>… and ${count - SHOWN} more: migration.json has them.</p>`;
}
