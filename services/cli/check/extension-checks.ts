import { judgeExtension, type ExtensionPair } from '#core/extension-plan.ts';
import { quoteIdentifier, quoteLiteral } from '#core/table-name.ts';
import type { CheckContext, CheckedTarget } from './check-context.ts';
import { statementsText, type Check, type Finding, type SafeFix } from './finding.ts';
import { eachTarget } from './target-checks.ts';

/** What comes with extensions: their types, functions and operators, in the version that the source has. */
export const EXTENSION_CHECKS: readonly Check[] = [
  { id: 'target.extensions', severity: 'block', run: eachTarget(checkExtensions) },
];

interface SourceExtension {
  readonly name: string;
  readonly version: string;
  readonly schema: string;
  /** Columns of chosen tables have its types. */
  readonly isNeeded: boolean;
}

const OF_SOURCE = `SELECT e.extname::text AS name, e.extversion AS version, x.nspname::text AS schema, EXISTS (
    SELECT FROM unnest($1::text[], $2::text[]) AS t(schema, name)
      JOIN pg_namespace n ON n.nspname = t.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      JOIN pg_type y ON y.oid = a.atttypid
      JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid IN (y.oid, y.typelem) AND d.deptype = 'e' AND d.refobjid = e.oid) AS "isNeeded"
  FROM pg_extension e JOIN pg_namespace x ON x.oid = e.extnamespace WHERE e.extname <> 'plpgsql' ORDER BY 1`;
const OF_TARGET = `SELECT e.name::text AS name, e.installed_version AS installed, e.default_version AS "byDefault",
    (SELECT coalesce(array_agg(v.version), '{}') FROM pg_available_extension_versions v WHERE v.name = e.name) AS available
  FROM pg_available_extensions e WHERE e.name = ANY ($1::text[])`;

async function checkExtensions(target: CheckedTarget, { source, tables }: CheckContext): Promise<Finding[]> {
  const { rows: ours } = await source.query<SourceExtension>(OF_SOURCE, [
    tables.map(({ schema }) => schema),
    tables.map(({ table }) => table),
  ]);
  const { rows } = await target.client.query<Omit<ExtensionPair, 'version'>>(OF_TARGET, [ours.map(({ name }) => name)]);
  const there = new Map(rows.map((row) => [row.name, row]));
  return ours.flatMap((extension) => {
    const known = there.get(extension.name) ?? { installed: null, byDefault: null, available: [] };
    return findingOf(target, extension, { ...known, name: extension.name, version: extension.version });
  });
}

function findingOf(target: CheckedTarget, extension: SourceExtension, pair: ExtensionPair): Finding[] {
  const { name, version, isNeeded } = extension;
  const verdict = judgeExtension(pair);
  if (verdict.is === 'absent')
    return [
      {
        severity: isNeeded ? 'block' : 'warn',
        what: `the extension ${name} is not available at the target`,
        evidence: `not in pg_available_extensions; the source has ${version}`,
        fix: `install the package of ${name} on the target's server`,
      },
    ];
  if (verdict.is === 'older') {
    const fix = verdict.fix === null ? null : fixWith(target, extension, pair, verdict.fix);
    return [
      {
        severity: 'warn',
        what: `the extension ${name} is older at the target: what came with newer versions is missing there`,
        evidence: `${verdict.has}${pair.installed === null ? ', once it is made' : ''}; the source has ${version}`,
        fix:
          fix === null ? `install a newer package of ${name} on the target's server` : statementsText(fix.statements),
        ...(fix === null ? {} : { safeFix: fix }),
      },
    ];
  }
  // pg_dump's archive makes them itself, in the version of the target's server.
  if (pair.installed !== null || !isNeeded || target.config.schema === 'copy') return [];
  const fix = fixWith(target, extension, pair, null);
  return [
    {
      what: `the extension ${name} is not installed at the target`,
      evidence: 'pg_available_extensions.installed_version is null',
      fix: statementsText(fix.statements),
      safeFix: fix,
    },
  ];
}

/** `version`: null is the server's default. */
function fixWith(
  { config }: CheckedTarget,
  { name, schema }: SourceExtension,
  { installed }: ExtensionPair,
  version: string | null,
): SafeFix {
  const at = `target ${config.name}`;
  const quoted = quoteIdentifier(name);
  if (installed !== null)
    return {
      at,
      statements: [`ALTER EXTENSION ${quoted} UPDATE${version === null ? '' : ` TO ${quoteLiteral(version)}`}`],
    };
  const into = quoteIdentifier(schema);
  const create = `CREATE EXTENSION IF NOT EXISTS ${quoted} WITH SCHEMA ${into}${version === null ? '' : ` VERSION ${quoteLiteral(version)}`}`;
  const isThere = schema === 'public' || schema === 'pg_catalog';
  return { at, statements: isThere ? [create] : [`CREATE SCHEMA IF NOT EXISTS ${into}`, create] };
}
