import { RestageError } from '#core/errors.ts';
import { structureVersion, type TableStructure } from '#core/structure.ts';

export interface StructureRecord {
  readonly version: number;
  readonly key: string;
  readonly value: string;
}

/** A structure as it stands on `<prefix>.schemas`: key `[schema, table, version]`, so compaction keeps every version. */
export function structureRecord(structure: TableStructure): StructureRecord {
  const version = structureVersion(structure);
  return {
    version,
    key: JSON.stringify([structure.schema, structure.table, version]),
    value: JSON.stringify({ version, structure }),
  };
}

/** A table's topic and version: names a structure in this process's memory. */
export function structureId(record: {
  readonly version: number;
  readonly structure: { readonly topic: string };
}): string {
  return `${record.structure.topic}:${record.version}`;
}

/** @throws RestageError record_invalid when the bytes are no structure, or their version is not their content's. */
export function parseStructureRecord(value: Buffer): { readonly version: number; readonly structure: TableStructure } {
  let parsed: unknown;
  try {
    parsed = JSON.parse(value.toString('utf8'));
  } catch (cause) {
    throw new RestageError('record_invalid', 'a structure record is not JSON', { cause });
  }
  if (!isStructureRecord(parsed) || structureVersion(parsed.structure) !== parsed.version) {
    throw new RestageError('record_invalid', 'a structure record is damaged: its version is not that of its content');
  }
  return parsed;
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
