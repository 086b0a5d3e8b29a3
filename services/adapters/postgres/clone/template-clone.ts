import type pg from 'pg';
import type { CloneDriver, CloneProbe } from '#core/rehearsal/clone-driver.ts';
import { RestageError } from '#core/errors.ts';
import { quoteIdentifier } from '#core/table-name.ts';
import { dropClone, isThere, markClone, MAY_NOT_CREATE, mayCreate, urlOf } from './clone-database.ts';

/** What a disk copies in a second, for a guess. */
const BYTES_PER_SECOND = 300_000_000;
/** One that shares the files' blocks takes about as long whatever there is (PostgreSQL 18: "file_copy_method"). */
const SHARED_SECONDS = 1;

/** CREATE DATABASE … TEMPLATE (PostgreSQL: "Template Databases"): a copy of the files on the same server. */
export class TemplateClone implements CloneDriver {
  readonly kind = 'template';
  readonly #client: pg.ClientBase;
  readonly #url: string;
  readonly #baseline: string | null;

  constructor(client: pg.ClientBase, url: string, baseline: string | null) {
    this.#client = client;
    this.#url = url;
    this.#baseline = baseline;
  }

  async probe(): Promise<CloneProbe> {
    if (!(await mayCreate(this.#client))) return { can: false, refusal: MAY_NOT_CREATE };
    if (this.#baseline === null) return { can: true, bytes: 0, seconds: SHARED_SECONDS };
    const { rows } = await this.#client.query<{ bytes: string; sessions: string[]; mine: boolean }>(
      `SELECT pg_database_size(d.oid)::text AS bytes, d.datistemplate OR pg_has_role(d.datdba, 'usage') AS mine,
              ARRAY(SELECT DISTINCT concat_ws(' ', usename, nullif('(' || application_name || ')', '()')) FROM pg_stat_activity a WHERE a.datid = d.oid AND a.usesysid IS NOT NULL) AS sessions
         FROM pg_database d WHERE d.datname = $1`,
      [this.#baseline],
    );
    const [found] = rows;
    if (found === undefined) return { can: false, refusal: `there is no database ${this.#baseline}` };
    if (!found.mine) return { can: false, refusal: `the role does not own ${this.#baseline}` };
    if (found.sessions.length > 0)
      return { can: false, refusal: `${this.#baseline} has sessions: ${found.sessions.join(', ')}` };
    const bytes = Number(found.bytes);
    return { can: true, bytes, seconds: (await this.#sharesBlocks()) ? SHARED_SECONDS : bytes / BYTES_PER_SECOND };
  }

  async create(name: string): Promise<string> {
    const shares = await this.#sharesBlocks();
    const template = quoteIdentifier(this.#baseline ?? 'template0');
    // Blocks are shared only where files are copied; else the WAL way spares two checkpoints.
    const strategy = shares && this.#baseline !== null ? ' STRATEGY = FILE_COPY' : '';
    if (await isThere(this.#client, name))
      throw new RestageError('clone_refused', 'a clone of this name is there already', { where: `database ${name}` });
    const encoding = this.#baseline === null ? " ENCODING = 'UTF8'" : '';
    await this.#client.query(`CREATE DATABASE ${quoteIdentifier(name)} TEMPLATE = ${template}${encoding}${strategy}`);
    await markClone(this.#client, name);
    return urlOf(this.#url, name);
  }

  drop(name: string): Promise<void> {
    return dropClone(this.#client, name);
  }

  async #sharesBlocks(): Promise<boolean> {
    const [row] = (
      await this.#client.query<{ method: string | null }>("SELECT current_setting('file_copy_method', true) AS method")
    ).rows;
    return row?.method === 'clone';
  }
}
