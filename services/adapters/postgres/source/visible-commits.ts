import type pg from 'pg';
import { pause } from '#core/backoff.ts';
import type { Logger } from '#core/log.ts';
import { isAfter } from '#core/xid.ts';

/** 32-bit numbers of transactions, as the stream has them (PostgreSQL: "pg_snapshot Components"). */
interface SnapshotRow {
  /** All before it have ended. */
  readonly xmin: string;
  /** None from it on has ended. */
  readonly xmax: string;
  readonly is_running: boolean;
  readonly is_awaited: boolean;
}

/** A walsender of this session's application that commits wait for (PostgreSQL: "synchronous_standby_names"): they end when it confirms them. */
const SNAPSHOT_SQL = {
  name: 'restage_visible_commit',
  text: `
  SELECT pg_catalog.pg_snapshot_xmin(s)::pg_catalog.xid::text AS xmin, pg_catalog.pg_snapshot_xmax(s)::pg_catalog.xid::text AS xmax,
         $1::text IN (SELECT x::pg_catalog.xid::text FROM pg_catalog.pg_snapshot_xip(s) AS x) AS is_running,
         EXISTS (SELECT FROM pg_catalog.pg_stat_replication
                  WHERE application_name = pg_catalog.current_setting('application_name') AND sync_state <> 'async') AS is_awaited
    FROM pg_catalog.pg_current_snapshot() AS s`,
};

const FIRST_PAUSE_MS = 1;
const LONGEST_PAUSE_MS = 100;
const SAY_AFTER_MS = 5_000;

/**
 * Which transactions of the stream other sessions see. A commit is in the WAL, and so in the stream, a moment before that, and where it
 * waits for a synchronous stand-by as long as that takes (PostgreSQL: "synchronous_commit"): until then the catalog is behind the stream.
 */
export class VisibleCommits {
  readonly #client: pg.ClientBase;
  readonly #logger: Logger;
  /** All before it had ended when somebody looked. */
  #ended: number | null = null;

  constructor(client: pg.ClientBase, logger: Logger) {
    this.#client = client;
    this.#logger = logger;
  }

  /**
   * Waits until a transaction of the stream is seen; false when aborted before. Where commits wait for Restage itself it is true at once: what
   * is read for this one has to be written before it can be seen.
   */
  async wait(xid: number, signal: AbortSignal): Promise<boolean> {
    let waitedMs = 0;
    for (let ms = FIRST_PAUSE_MS; !(await this.#isSeen(xid)); ms = Math.min(2 * ms, LONGEST_PAUSE_MS)) {
      await pause(ms, signal);
      if (signal.aborted) return false;
      if (waitedMs < SAY_AFTER_MS && waitedMs + ms >= SAY_AFTER_MS)
        this.#logger.warn(
          { xid },
          'waits for a commit that the source does not show yet: does a synchronous stand-by answer?',
        );
      waitedMs += ms;
    }
    return true;
  }

  async #isSeen(xid: number): Promise<boolean> {
    if (this.#ended !== null && isAfter(this.#ended, xid)) return true;
    const { rows } = await this.#client.query<SnapshotRow>({ ...SNAPSHOT_SQL, values: [String(xid)] });
    const [row] = rows;
    if (row === undefined) return false;
    this.#ended = Number(row.xmin);
    return row.is_awaited || (isAfter(Number(row.xmax), xid) && !row.is_running);
  }
}
