import type { TestDatabase } from './database.ts';
import { quoteIdentifier } from '#core/table-name.ts';

/** Defaults under which values print, read back and compare otherwise, and sessions end early. */
const HOSTILE: Readonly<Record<string, string>> = {
  datestyle: `'German, YMD'`,
  intervalstyle: `'sql_standard'`,
  timezone: `'Asia/Kathmandu'`,
  extra_float_digits: `'-15'`,
  bytea_output: `'escape'`,
  lc_monetary: `'C.UTF-8'`,
  xmloption: `'document'`,
  xmlbinary: `'hex'`,
  search_path: `'corpus', '"Ext.Schema"'`,
  quote_all_identifiers: `'on'`,
  array_nulls: `'off'`,
  standard_conforming_strings: `'off'`,
  backslash_quote: `'off'`,
  transform_null_equals: `'on'`,
  client_encoding: `'LATIN1'`,
  default_transaction_isolation: `'serializable'`,
  default_transaction_deferrable: `'on'`,
  statement_timeout: `'900ms'`,
  lock_timeout: `'100ms'`,
  idle_in_transaction_session_timeout: `'900ms'`,
  idle_session_timeout: `'900ms'`,
};

/** For every new session of the database, half of it by the role: the session that `database.client` has stays as it is. */
export async function setHostileDefaults(database: TestDatabase): Promise<void> {
  const name = quoteIdentifier(database.name);
  const settings = Object.entries(HOSTILE);
  const { rows } = await database.client.query<{ version: string }>('SHOW server_version_num');
  if (Number(rows[0]?.version) >= 170_000) settings.push(['transaction_timeout', `'900ms'`]);
  for (const [index, [setting, value]] of settings.entries()) {
    const whose = index % 2 === 0 ? `DATABASE ${name}` : `ROLE postgres IN DATABASE ${name}`;
    await database.client.query(`ALTER ${whose} SET ${setting} = ${value}`);
  }
}
