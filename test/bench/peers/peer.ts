import type { BenchServers, DatabasePair } from '../bench-servers.ts';

/** Another way to bring a database over and keep it so. `await using` takes it down. */
export interface Peer extends AsyncDisposable {
  readonly name: string;
  /** Its settings, for the report. */
  readonly settings: string;
  /** Begins with the initial load; resolves when the target has all that was there. */
  load(): Promise<void>;
  /** Stops to apply, without losing its place. */
  stop(): Promise<void>;
  /** Goes on, until everything before an LSN of the source is applied. */
  drain(lsn: string): Promise<void>;
}

export type OpenPeer = (servers: BenchServers, pair: DatabasePair) => Promise<Peer>;
