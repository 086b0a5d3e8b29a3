/** A narrow table, for as many rows as a case wants. */
export const BIG_TABLE = 'CREATE TABLE public.big (id bigint PRIMARY KEY, n int, body text)';
/** A rule for it, as YAML. */
export const BIG_RULE = '{ table: public.big, columns: { rename: { n: number } } }';
