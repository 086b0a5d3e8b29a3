import { cellText, type Row } from '#core/envelope.ts';
import { RestageError } from '#core/errors.ts';
import { nearest } from '#core/nearest.ts';
import type { OutboxConfig } from '#core/outbox/outbox-config.ts';
import type { OutboxTopics } from '#core/outbox/outbox-topics.ts';
import { encodeHeaders } from '#core/fixed-headers.ts';
import { atPlace } from '#core/rules/rule-place.ts';
import { bytesOf } from '#core/rules/values/text-input.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';
import { formatTable } from '#core/table-name.ts';

/** One record for the consumers of the outbox. */
export interface OutboxEvent {
  readonly topic: string;
  readonly key: Buffer | null;
  /** null: a tombstone. */
  readonly value: Buffer | null;
  /** As encodeHeaders makes them. */
  readonly headers: Buffer;
}

/** What the rows of one structure of an outbox table are (Debezium: "Outbox Event Router"). */
export interface Outbox {
  readonly config: OutboxConfig;
  /** A new row's event. @throws RestageError rule_failed where it names no topic. */
  event(row: Row, topics: OutboxTopics, place: string): OutboxEvent;
}

/** @throws RestageError rule_invalid for columns that the table lacks. */
export function compileOutbox(structure: TableStructure, config: OutboxConfig, rulePlace?: string): Outbox {
  const find = (name: string): ColumnStructure => findColumn(structure, name, rulePlace);
  const id = find(config.idField);
  const key = find(config.keyField);
  const payload = find(config.payloadField);
  const route = find(config.routeField);
  const placed = config.placements.map((placement) => ({ ...placement, column: find(placement.field) }));
  const inEnvelope = placed.filter(({ at }) => at === 'envelope');
  const inHeaders = [{ column: id, alias: 'id' }, ...placed.filter(({ at }) => at === 'header')];
  return {
    config,
    event(row, topics, place) {
      const value = textOf(row, payload);
      const isEmpty = value === null || value === '';
      const headers = inHeaders.flatMap(({ column, alias }): (readonly [string, Buffer])[] => {
        const text = textOf(row, column);
        return text === null ? [] : [[alias, Buffer.from(text, 'utf8')]];
      });
      return {
        topic: topics.take(textOf(row, route), config, `${place}; outbox ${formatTable(structure)}`),
        key: bytesOrNull(textOf(row, key)),
        value:
          isEmpty && config.tombstoneOnEmptyPayload
            ? null
            : inEnvelope.length > 0
              ? envelopeOf(row, payload, inEnvelope, config.expandJson)
              : (storedBytes(value, payload) ?? Buffer.alloc(0)),
        headers: encodeHeaders(headers),
      };
    },
  };
}

function findColumn(structure: TableStructure, name: string, place: string | undefined): ColumnStructure {
  const column = structure.columns.find((one) => one.name === name && !one.generated);
  if (column !== undefined) return column;
  const near = nearest(
    name,
    structure.columns.map((one) => one.name),
  );
  throw new RestageError('rule_invalid', `column ${name} is not in the table`, {
    where: atPlace(place, `outbox ${formatTable(structure)}`),
    fix: near === null ? "name the table's own columns in outbox" : `did you mean ${near}?`,
  });
}

function textOf(row: Row, { name }: ColumnStructure): string | null {
  return Object.hasOwn(row, name) ? cellText(row[name] ?? null) : null;
}

function bytesOrNull(text: string | null): Buffer | null {
  return text === null ? null : Buffer.from(text, 'utf8');
}

/** JSON is not read, so its numbers and spaces stay; bytea is its bytes. */
function storedBytes(text: string | null, { typeSchema, typeName }: ColumnStructure): Buffer | null {
  return text !== null && typeSchema === 'pg_catalog' && typeName === 'bytea' ? bytesOf(text) : bytesOrNull(text);
}

function envelopeOf(
  row: Row,
  payload: ColumnStructure,
  placed: readonly { readonly alias: string; readonly column: ColumnStructure }[],
  expandJson: boolean,
): Buffer {
  const text = textOf(row, payload);
  const value = expandJson && text !== null && isDocument(text) ? text : JSON.stringify(row[payload.name] ?? null);
  const fields = placed.map(
    ({ alias, column }) => `${JSON.stringify(alias)}:${JSON.stringify(row[column.name] ?? null)}`,
  );
  return Buffer.from(`{${[`"payload":${value}`, ...fields].join(',')}}`, 'utf8');
}

/** Its text goes on as it is: a number keeps every digit. */
function isDocument(text: string): boolean {
  try {
    return /^\s*[[{]/.test(text) && JSON.parse(text) !== null;
  } catch {
    return false;
  }
}
