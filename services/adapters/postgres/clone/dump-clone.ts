import type pg from 'pg';
import { copyDatabase, findPgTools } from '#adapters/postgres/target/pg-dump.ts';
import { majorOf } from '#adapters/postgres/target/structure-archive.ts';
import type { CloneDriver, CloneProbe } from '#core/rehearsal/clone-driver.ts';
import { RestageError } from '#core/errors.ts';
import { quoteIdentifier } from '#core/table-name.ts';
import { dropClone, isThere, markClone, MAY_NOT_CREATE, mayCreate, urlOf } from './clone-database.ts';

const BYTES_PER_SECOND = 20_000_000;

/** pg_dump into a new database, for a baseline that has sessions or another owner: it is read as it stands, indexes are built anew. */
export class DumpClone implements CloneDriver {
  readonly kind = 'dump';
  readonly #client: pg.ClientBase;
  readonly #url: string;
  readonly #baseline: string;

  constructor(client: pg.ClientBase, url: string, baseline: string) {
    this.#client = client;
    this.#url = url;
    this.#baseline = baseline;
  }

  async probe(): Promise<CloneProbe> {
    const { rows } = await this.#client.query<{ bytes: string }>(
      'SELECT pg_database_size(oid)::text AS bytes FROM pg_database WHERE datname = $1',
      [this.#baseline],
    );
    const [found] = rows;
    if (found === undefined) return { can: false, refusal: `there is no database ${this.#baseline}` };
    if (!(await mayCreate(this.#client))) return { can: false, refusal: MAY_NOT_CREATE };
    try {
      await findPgTools(await majorOf(this.#client));
    } catch (error) {
      return { can: false, refusal: error instanceof Error ? error.message : String(error) };
    }
    const bytes = Number(found.bytes);
    return { can: true, bytes, seconds: bytes / BYTES_PER_SECOND };
  }

  async create(name: string): Promise<string> {
    if (await isThere(this.#client, name))
      throw new RestageError('clone_refused', 'a clone of this name is there already', { where: `database ${name}` });
    await this.#client.query(`CREATE DATABASE ${quoteIdentifier(name)} TEMPLATE = template0 ENCODING = 'UTF8'`);
    // Marked before it is filled: what a kill leaves of it is dropped by the next one.
    await markClone(this.#client, name);
    const tools = await findPgTools(await majorOf(this.#client));
    const clone = urlOf(this.#url, name);
    await copyDatabase(tools, urlOf(this.#url, this.#baseline), clone);
    return clone;
  }

  drop(name: string): Promise<void> {
    return dropClone(this.#client, name);
  }
}
