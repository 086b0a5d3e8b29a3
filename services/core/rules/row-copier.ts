import { copyBytes } from '#core/cell-marks.ts';
import { scannerOf, type ImageScanner } from '#core/image-scanner.ts';
import type { ByteRange } from '#core/record.ts';
import type { ColumnList } from '#core/row-image.ts';
import type { TableStructure } from '#core/structure.ts';

/** A column of the source under its name at the target. */
export interface CopiedColumn {
  readonly from: string;
  readonly to: string;
}

/** What of an image that has just these columns is copied. */
interface CopyPlan {
  readonly cells: readonly { readonly index: number; readonly head: Buffer }[];
  /** No column of the target is missing. */
  readonly isWhole: boolean;
}

const HEAD = Buffer.from('{"before":null,"after":{');
const CLOSE = 0x7d;

/**
 * What a rule makes of an event that leaves columns out, gives them other names or another order, and no more than that: the values are copied as the
 * bytes they are. Only for tables whose rows keep their identity.
 */
export class RowCopier {
  readonly #scanner: ImageScanner;
  readonly #hasKey: boolean;
  readonly #columns: readonly CopiedColumn[];
  readonly #plans = new Map<ColumnList, CopyPlan>();

  constructor(source: TableStructure, columns: readonly CopiedColumn[]) {
    this.#scanner = scannerOf(source);
    this.#hasKey = source.identity.columns.length > 0;
    this.#columns = columns;
  }

  /** The envelope behind the rule; null where that is to be found by its values: a delete, a change of the key, a row that lacks some. */
  copy(envelope: ByteRange): Buffer | null {
    const { bytes, end } = envelope;
    const scanned = this.#scanner.scan(envelope);
    if (scanned === null || scanned.after === null || scanned.before !== null) return null;
    const { identity, columns } = scanned.after;
    if (identity === null || identity.texts.includes(null)) return null;
    const { cells, isWhole } = this.#planOf(columns);
    if (scanned.op === 'u' ? !this.#hasKey : !isWhole) return null;
    const { marks, end: tail } = this.#scanner;
    let size = HEAD.length + 1 + end - tail;
    for (const { index, head } of cells) size += head.length + marks.bytesOf(index);
    const copy = Buffer.allocUnsafe(size);
    let at = copyBytes(HEAD, 0, HEAD.length, copy, 0);
    for (const { index, head } of cells) {
      at = copyBytes(head, 0, head.length, copy, at);
      at = marks.copy(index, bytes, copy, at);
    }
    copy[at] = CLOSE;
    copyBytes(bytes, tail, end, copy, at + 1);
    return copy;
  }

  #planOf(columns: ColumnList): CopyPlan {
    const known = this.#plans.get(columns);
    if (known !== undefined) return known;
    const there = this.#columns.filter(({ from }) => columns.indexOf(from) >= 0);
    const cells = there.map(({ from, to }, at) => ({
      index: columns.indexOf(from),
      head: Buffer.from(`${at === 0 ? '' : ','}${JSON.stringify(to)}:`),
    }));
    const made = { cells, isWhole: there.length === this.#columns.length };
    this.#plans.set(columns, made);
    return made;
  }
}
