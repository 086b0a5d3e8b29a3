import type { ManifestDraft } from '#core/epoch-writer.ts';
import type { ControlEntry, Manifest, StoredManifest } from '#core/manifest.ts';
import { reachedInLoad, type ShapedLoad } from './shaped-load.ts';

export interface DraftContext {
  readonly last: StoredManifest | null;
  readonly plan: string | null;
  readonly load: ShapedLoad;
  /** What is told of a late load. */
  readonly late: Pick<NonNullable<Manifest['raw']>, 'back' | 'floors'>;
  /** A key changed behind the rules that did not before them. */
  readonly isJoint: boolean;
}

/** The manifest of what was made from a raw one, which it names; `rows`: how many events that is. */
export function draftFrom(
  { manifest, offset }: StoredManifest,
  rows: number,
  control: ControlEntry[],
  { last, plan, load, late, isJoint }: DraftContext,
): ManifestDraft {
  const {
    ranges: _ranges,
    format: _format,
    total: _total,
    kept: _kept,
    tables,
    table,
    rows: _rows,
    late: _late,
    floors: _floors,
    ...rest
  } = manifest;
  return {
    ...rest,
    ...(manifest.kind === 'stream' || manifest.kind === 'empty' ? {} : reachedInLoad(last, manifest)),
    // What a late load did to rows that look up its own is no epoch of the source.
    ...(manifest.kind === 'empty' && rows > 0 ? { kind: 'stream' as const } : {}),
    ...(isJoint ? { joint: true } : {}),
    control,
    plan,
    ...(tables === undefined ? {} : { tables: load.planned }),
    ...(table === undefined ? {} : load.place(table.topic, manifest)),
    ...(manifest.kind === 'chunk' ? { rows } : {}),
    raw: { epoch: manifest.epoch, part: manifest.part, offset: String(offset), ...late },
  };
}
