/** A column's TOASTed value that an UPDATE left alone: the server does not send it. A value of its own, never undefined. */
export const UNCHANGED: unique symbol = Symbol('unchanged TOAST');

/** PostgreSQL's text, NULL, or unchanged. */
export type TupleValue = string | null | typeof UNCHANGED;

/** A row's values in its columns' order. */
export type Tuple = readonly TupleValue[];
