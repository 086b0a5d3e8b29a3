import type { Image, RowChange } from '#core/change.ts';
import { cellText, type Cell, type Row } from '#core/envelope.ts';
import { RestageError } from '#core/errors.ts';
import { scannerOf } from '#core/image-scanner.ts';
import type { Position } from '#core/position.ts';
import { readEventPlace, valueRangeOf, type ByteRange, type KafkaRecord } from '#core/record.ts';
import type { RowValues } from '#core/row-image.ts';
import type { TableStructure } from '#core/structure.ts';

interface ParsedEnvelope {
  readonly before?: Row | null;
  readonly after?: Row | null;
  readonly op?: unknown;
}

/** A stream event as a change; `position` where it is known already. @throws RestageError record_invalid. */
export function parseChange(
  record: KafkaRecord,
  structure: TableStructure,
  position = readEventPlace(record)?.position,
): RowChange {
  const value = valueRangeOf(record);
  if (value === null) throw invalid(record, structure, 'it has no value');
  if (position === undefined) throw invalid(record, structure, 'it lacks the headers of a stream event');
  const scanned = scanChange(value, structure, position);
  if (scanned !== null) return scanned;
  const { before, after, op } = parseEnvelope(record, structure);
  const identity = structure.identity.columns;
  switch (op) {
    case 'c':
      return { kind: 'insert', position, after: imageOf(after, record, structure) };
    case 'u': {
      const image = imageOf(after, record, structure);
      const old = before === null || before === undefined ? null : imageOf(before, record, structure);
      return {
        kind: 'update',
        position,
        key: pick(old ?? image, identity, record, structure),
        before: structure.identity.isFull ? old : null,
        after: image,
      };
    }
    case 'd': {
      const old = imageOf(before, record, structure);
      return {
        kind: 'delete',
        position,
        key: pick(old, identity, record, structure),
        before: structure.identity.isFull ? old : null,
      };
    }
    default:
      throw invalid(record, structure, `op ${JSON.stringify(op)} is not c, u or d`);
  }
}

/** The common way; null where the value is not written as Restage writes it, or lacks what its op needs: the parser says then what it is. */
function scanChange(value: ByteRange, structure: TableStructure, position: Position): RowChange | null {
  const scanned = scannerOf(structure).scan(value);
  if (scanned === null) return null;
  const { op, before, after } = scanned;
  if (op === 'c' && after !== null) return { kind: 'insert', position, after };
  const named = before ?? (op === 'u' ? after : null);
  const key = named?.identity ?? null;
  if (key === null) return null;
  const old = structure.identity.isFull ? before : null;
  if (op === 'u' && after !== null) return { kind: 'update', position, key, before: old, after };
  return op === 'd' ? { kind: 'delete', position, key, before: old } : null;
}

/** A snapshot row's values in the order of `columns`. @throws RestageError record_invalid. */
export function parseSnapshotRow(
  record: KafkaRecord,
  structure: TableStructure,
  columns: readonly string[],
): RowValues {
  const value = valueRangeOf(record);
  const scanned = value === null ? null : scannerOf(structure).scan(value);
  if (scanned?.op === 'r' && scanned.after !== null && isSame(scanned.after.columns.names, columns))
    return scanned.after;
  const { after, op } = parseEnvelope(record, structure);
  if (op !== 'r' || after === null || typeof after !== 'object')
    throw invalid(record, structure, 'it is no snapshot row');
  return columns.map((name) => {
    if (!Object.hasOwn(after, name)) throw invalid(record, structure, `column ${name} is missing`);
    return cellText(after[name] ?? null);
  });
}

function isSame(names: readonly string[], columns: readonly string[]): boolean {
  return names.length === columns.length && names.every((name, index) => name === columns[index]);
}

/** The structure that a snapshot row was written with. @throws RestageError record_invalid. */
export function snapshotVersion(record: KafkaRecord, topic: string): number {
  const header = record.headers.get('structure');
  if (header?.length === 4) return header.readUInt32BE();
  throw new RestageError('record_invalid', 'an event cannot be read: it lacks the headers of a snapshot row', {
    where: `topic ${topic}, partition 0, offset ${record.offset}`,
  });
}

/** The row's identity, from a record's key; null where that cannot be read, or the table has none. */
export function parseKey(record: KafkaRecord, structure: TableStructure): Image | null {
  const { columns } = structure.identity;
  if (record.key === null || columns.length === 0) return null;
  try {
    const parsed: unknown = JSON.parse(record.key.toString('utf8'));
    if (typeof parsed !== 'object' || parsed === null) return null;
    return pick(imageOf(parsed as Row, record, structure), columns, record, structure);
  } catch {
    return null;
  }
}

function parseEnvelope(record: KafkaRecord, structure: TableStructure): ParsedEnvelope {
  try {
    const parsed: unknown = JSON.parse((record.value ?? Buffer.alloc(0)).toString('utf8'));
    if (typeof parsed === 'object' && parsed !== null) return parsed;
  } catch (cause) {
    throw invalid(record, structure, 'its value is not JSON', cause);
  }
  throw invalid(record, structure, 'its value is not an object');
}

function imageOf(row: Row | null | undefined, record: KafkaRecord, structure: TableStructure): Image {
  if (row === null || row === undefined || typeof row !== 'object')
    throw invalid(record, structure, 'an image of the row is missing');
  return new Map(Object.entries(row).map(([name, cell]) => [name, textOf(cell, record, structure)]));
}

function textOf(cell: Cell, record: KafkaRecord, structure: TableStructure): string | null {
  if (typeof cell === 'object' && cell !== null) throw invalid(record, structure, 'a value is an object or an array');
  return cellText(cell);
}

function pick(image: Image, columns: readonly string[], record: KafkaRecord, structure: TableStructure): Image {
  return new Map(
    columns.map((name) => {
      const value = image.get(name);
      if (value === undefined) throw invalid(record, structure, `column ${name} of the identity is missing`);
      return [name, value];
    }),
  );
}

function invalid(record: KafkaRecord, structure: TableStructure, why: string, cause?: unknown): RestageError {
  return new RestageError('record_invalid', `an event cannot be read: ${why}`, {
    where: `topic ${structure.topic}, partition 0, offset ${record.offset}`,
    ...(cause === undefined ? {} : { cause }),
    fix: 'somebody else writes to this topic, or it is damaged',
  });
}
