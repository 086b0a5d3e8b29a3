import * as z from 'zod';
import { SNAPSHOT_PREFIX, type SnapshotGate, type SnapshotRequest } from '#core/control.ts';

const schema = z.object({ tables: z.array(z.object({ schema: z.string(), table: z.string() })).min(1) });

/** A request as a record of the control topic. */
export function writeSnapshotRequest({ tables }: SnapshotRequest): string {
  return JSON.stringify({ tables: tables.map(({ schema: name, table }) => ({ schema: name, table })) });
}

/** The requests for snapshots that the control topic holds. A record that is not of the known form is as none. */
export class SnapshotRequests implements SnapshotGate {
  readonly #remove: (id: string) => Promise<void>;
  readonly #requests = new Map<string, SnapshotRequest>();

  /** `remove` writes the request's tombstone. */
  constructor(remove: (id: string) => Promise<void>) {
    this.#remove = remove;
  }

  get requests(): readonly SnapshotRequest[] {
    return [...this.#requests.values()];
  }

  async clear(id: string): Promise<void> {
    await this.#remove(id);
    this.#requests.delete(id);
  }

  /** A record whose key begins with SNAPSHOT_PREFIX. */
  take(key: string, value: Buffer | null): void {
    const id = key.slice(SNAPSHOT_PREFIX.length);
    const request = readRequest(id, value);
    if (request === null) this.#requests.delete(id);
    else this.#requests.set(id, request);
  }
}

function readRequest(id: string, value: Buffer | null): SnapshotRequest | null {
  try {
    return { id, ...schema.parse(JSON.parse(value?.toString('utf8') ?? 'null')) };
  } catch {
    return null;
  }
}
