import * as z from 'zod';
import { RestageError } from '#core/errors.ts';
import type { SourceShape } from '#core/structure-change.ts';
import { structureVersion, type TableStructure } from '#core/structure.ts';

export interface StructureRecord {
  readonly version: number;
  readonly structure: TableStructure;
  readonly key: string;
  readonly value: string;
}

/** A structure as it stands on `<prefix>.schemas`: key `[schema, table, version]`, so compaction keeps every version. */
export function structureRecord(structure: TableStructure): StructureRecord {
  const version = structureVersion(structure);
  return {
    version,
    structure,
    key: JSON.stringify([structure.schema, structure.table, version]),
    value: JSON.stringify({ version, structure }),
  };
}

const currentSchema = z.object({
  topic: z.string(),
  version: z.number(),
  oid: z.number(),
  fileNode: z.string().nullable(),
  /** Not in records of older versions. */
  attributes: z.string().nullable().default(null),
  numbers: z.array(z.tuple([z.string(), z.number()])).transform((pairs) => new Map(pairs)),
});

/** Which structure a topic's newest events of the stream have, and what the source's catalog said of it then. */
export interface CurrentShape extends SourceShape {
  readonly topic: string;
  readonly version: number;
}

/** As it stands on `<prefix>.schemas` beside the structures, for the producer's next life: one a topic, the last one counts. */
export function currentRecord(current: CurrentShape): { readonly key: string; readonly value: string } {
  return {
    key: JSON.stringify(['current', current.topic]),
    value: JSON.stringify({ current: { ...current, numbers: [...current.numbers] } }),
  };
}

/** null for a record that is a structure, or none of ours. */
export function parseCurrent(value: Buffer): CurrentShape | null {
  const parsed = tryParseJson(value);
  const current = typeof parsed === 'object' && parsed !== null && 'current' in parsed ? parsed.current : null;
  return currentSchema.safeParse(current).data ?? null;
}

/** A table's topic and version: names a structure in this process's memory. */
export function structureId(record: {
  readonly version: number;
  readonly structure: { readonly topic: string };
}): string {
  return `${record.structure.topic}:${record.version}`;
}

export type ParsedStructure = Pick<StructureRecord, 'version' | 'structure'>;

/**
 * The structures among the topic's records. Others may have written there too, and what is no structure of ours is none: an event that
 * needs it says so. What a manifest names is read by parseStructureRecord, which takes nothing else.
 */
export function findStructures(values: Iterable<Buffer>): ParsedStructure[] {
  const found: ParsedStructure[] = [];
  for (const value of values) {
    try {
      const record = parseStructureRecord(value);
      if (record !== null) found.push(record);
    } catch (error) {
      if (!(error instanceof RestageError)) throw error;
    }
  }
  return found;
}

/**
 * null for a record that is none: the producer's own notes stand among them.
 * @throws RestageError record_invalid when the bytes are no record of this topic, or the version is not its content's.
 */
export function parseStructureRecord(value: Buffer): ParsedStructure | null {
  const parsed = parseJson(value);
  if (typeof parsed === 'object' && parsed !== null && 'current' in parsed) return null;
  if (!isStructureRecord(parsed) || structureVersion(parsed.structure) !== parsed.version) {
    throw new RestageError('record_invalid', 'a structure record is damaged: its version is not that of its content');
  }
  return parsed;
}

function tryParseJson(value: Buffer): unknown {
  try {
    return parseJson(value);
  } catch {
    return null;
  }
}

function parseJson(value: Buffer): unknown {
  try {
    return JSON.parse(value.toString('utf8'));
  } catch (cause) {
    throw new RestageError('record_invalid', 'a structure record is not JSON', { cause });
  }
}

function isStructureRecord(value: unknown): value is { version: number; structure: TableStructure } {
  if (typeof value !== 'object' || value === null || !('version' in value) || !('structure' in value)) return false;
  const { structure } = value;
  return (
    typeof structure === 'object' &&
    structure !== null &&
    'topic' in structure &&
    typeof structure.topic === 'string' &&
    'schema' in structure &&
    'table' in structure &&
    'columns' in structure &&
    Array.isArray(structure.columns)
  );
}
