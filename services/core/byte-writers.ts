import { ByteWriter } from '#core/byte-writer.ts';

const FIRST_BYTES = 4096;
/** Of memory that waits for the next one, at most. */
const MOST_KEPT_BYTES = 8 * 1024 * 1024;

/** Writers that have grown, for whoever needs one next: memory that is asked for anew is made and collected each time. */
export class ByteWriters {
  readonly #free: ByteWriter[] = [];
  #keptBytes = 0;

  take(): ByteWriter {
    const kept = this.#free.pop();
    if (kept === undefined) return new ByteWriter(FIRST_BYTES);
    this.#keptBytes -= kept.capacity;
    return kept;
  }

  /** Of which nobody has a view any more. */
  give(writer: ByteWriter): void {
    if (this.#keptBytes + writer.capacity > MOST_KEPT_BYTES) return;
    writer.clear();
    this.#keptBytes += writer.capacity;
    this.#free.push(writer);
  }
}
