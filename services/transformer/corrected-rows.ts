import { cellText, type Cell, type Row } from '#core/envelope.ts';
import { RestageError } from '#core/errors.ts';
import type { LetterCommand } from '#core/letter-command.ts';
import { nearest } from '#core/nearest.ts';
import type { Position } from '#core/position.ts';
import { readStreamHeaders, StreamHeaders, streamHeaders, type KafkaRecord } from '#core/record.ts';
import { cellOf, rowFrom } from '#core/rules/rows.ts';
import type { TableStructure } from '#core/structure.ts';
import type { WaitingLetter } from '#core/waiting-letter.ts';
import { joinEnvelope, splitEnvelope } from './envelope-text.ts';
import { versionOf, type EventShaper } from './event-shaper.ts';

/** A value that a person replaces: in a letter, and in those behind it wherever they have the same one. */
interface Correction {
  readonly topic: string;
  readonly column: string;
  readonly from: string | null;
  readonly to: string | null;
}

/** The records of one retry as they are shaped: in their new place, with the values that a person gave. */
export class CorrectedRows {
  readonly #command: LetterCommand;
  readonly #shaper: Pick<EventShaper, 'read'>;
  readonly #corrections: Correction[] = [];
  readonly #set = new Map<string, Readonly<Record<string, string | null>>>();

  constructor(command: LetterCommand, shaper: Pick<EventShaper, 'read'>) {
    this.#command = command;
    this.#shaper = shaper;
  }

  /** For the audit: what a letter was given; masked columns as the output has them (invariant 8). */
  setOf(id: string): Readonly<Record<string, string | null>> {
    return this.#set.get(id) ?? {};
  }

  /** @throws RestageError record_invalid, rule_failed for a column that the table does not have. */
  correct(letter: WaitingLetter, record: KafkaRecord, position: Position): KafkaRecord {
    const where = `dead letter ${letter.id}`;
    const { rules, event } = this.#shaper.read(record, letter);
    const { tail } = splitEnvelope(record.value ?? Buffer.alloc(0), where);
    const isNamed = this.#command.ids?.includes(letter.id) === true;
    if (isNamed) this.#learn(letter, event.after, rules.source);
    const own = this.#corrections.filter(({ topic }) => topic === letter.topic);
    const fix = (row: Row | null): Row | null => (row === null ? null : replace(row, own, rules.source));
    const after = fix(event.after);
    if (isNamed && after !== null) this.#noteSet(letter.id, rules.conceal(after));
    // A row of the load comes as a new one: its load is over.
    const op = event.op === 'r' ? 'c' : event.op;
    const value = Buffer.from(String(joinEnvelope({ op, before: fix(event.before), after }, tail)));
    return { offset: record.offset, key: record.key, value, headers: placed(record, position) };
  }

  #learn({ topic }: WaitingLetter, after: Row | null, { columns, identity }: TableStructure): void {
    for (const [column, to] of Object.entries(this.#command.set)) {
      const names = columns.filter(({ generated }) => !generated).map(({ name }) => name);
      if (!names.includes(column)) {
        const near = nearest(column, names);
        const fix = near === null ? {} : { fix: `did you mean ${near}?` };
        throw new RestageError('rule_failed', `the table has no column ${column} whose value could be set`, fix);
      }
      if (identity.columns.includes(column))
        throw new RestageError(
          'rule_failed',
          `column ${column} is part of the row's identity: to set it would make another row`,
        );
      if (after !== null && Object.hasOwn(after, column))
        this.#corrections.push({ topic, column, from: cellText(after[column] ?? null), to });
    }
  }

  #noteSet(id: string, after: Row): void {
    const names = Object.keys(this.#command.set).filter((name) => Object.hasOwn(after, name));
    if (names.length > 0)
      this.#set.set(id, Object.fromEntries(names.map((name) => [name, cellText(after[name] ?? null)])));
  }
}

function replace(row: Row, corrections: readonly Correction[], { columns }: TableStructure): Row {
  if (corrections.length === 0) return row;
  return rowFrom(
    Object.entries(row).map(([name, cell]): [string, Cell] => {
      const text = cellText(cell);
      const found = corrections.find(({ column, from }) => column === name && from === text);
      const json = columns.find((column) => column.name === name)?.json ?? 'text';
      return [name, found === undefined ? cell : cellOf(found.to, json)];
    }),
  );
}

/** A stream event's headers, at another position. */
function placed(record: KafkaRecord, position: Position): ReadonlyMap<string, Buffer> {
  const known = readStreamHeaders(record);
  const facts = { xid: known?.xid ?? 0n, epoch: known?.epoch ?? 0, structure: versionOf(record) };
  const bytes = Buffer.from(streamHeaders({ position, ...facts }));
  return StreamHeaders.find(bytes, 0, bytes.length) ?? new Map();
}
