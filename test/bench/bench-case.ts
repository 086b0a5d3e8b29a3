import type { BenchServers } from './bench-servers.ts';
import type { Report } from './result.ts';

export interface BenchOptions {
  /** pgbench's scale: 100,000 accounts each. */
  readonly scale: number;
  /** pgbench's transactions of a backlog, four row changes each. */
  readonly transactions: number;
  /** Of what is huge or long: 1 for as much as the cases' names say. */
  readonly size: number;
  /** Of the sink, and partitions of the tables' topics (ordering: key); 0: one of each, and whole transactions. `drain` and `stages` alone. */
  readonly lanes: number;
  /** Folder for profiles of the services; null: none. */
  readonly profiles: string | null;
  readonly say: (line: string) => void;
}

/** One case: makes its data, runs, proves the target equal, reports. Throws where it is not. */
export interface BenchCase {
  readonly name: string;
  readonly about: string;
  run(servers: BenchServers, options: BenchOptions, report: Report): Promise<void>;
}
