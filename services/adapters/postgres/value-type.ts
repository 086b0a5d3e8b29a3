/** How values of a column's type are read and compared in SQL, where the search path is empty. */
export interface ValueType {
  /** For a cast: format_type with typmod −1, since NULL turns bit into bit(1). Of a domain over an enum the enum. */
  readonly cast: string;
  /** text has a cast function of its own to the type, which reads less than the type's input function: regclass, "char". */
  readonly isCastOtherwise: boolean;
  /**
   * The type's own equality, in the form `OPERATOR(schema.=)` where the search path does not find it. A domain over an enum has none
   * (PostgreSQL: "Polymorphic Types", anyenum): it stands behind a cast of the column to the enum, `::mood =`.
   */
  readonly equals: string;
}

/** Columns `cast`, `cast_otherwise` and `equals` of a query over pg_type as `t`, joined with TYPE_JOINS. */
export const TYPE_COLUMNS = `
         format_type(CASE WHEN base.typtype = 'e' THEN base.oid ELSE t.oid END, -1) AS cast,
         t.typarray <> 0 AND EXISTS (SELECT FROM pg_catalog.pg_cast k
           WHERE k.castsource = 'text'::pg_catalog.regtype AND k.casttarget = base.oid AND k.castmethod = 'f') AS cast_otherwise,
         CASE WHEN t.typtype = 'd' AND base.typtype = 'e' THEN '::' || format_type(base.oid, -1) || ' =' ELSE coalesce(own.equals, '=') END AS equals`;

/** The type under a domain, and its own equality where that is not of pg_catalog: the default B-tree operator class has it. */
export const TYPE_JOINS = `CROSS JOIN LATERAL (
      WITH RECURSIVE up AS (
        SELECT t.oid, t.typtype, t.typbasetype
        UNION ALL SELECT b.oid, b.typtype, b.typbasetype FROM up JOIN pg_type b ON b.oid = up.typbasetype WHERE up.typtype = 'd')
      SELECT oid, typtype FROM up WHERE typtype <> 'd') AS base
    LEFT JOIN LATERAL (
      SELECT format('OPERATOR(%I.%s)', m.nspname, o.oprname) AS equals
        FROM pg_opclass k JOIN pg_am m0 ON m0.oid = k.opcmethod AND m0.amname = 'btree'
        JOIN pg_amop p ON p.amopfamily = k.opcfamily AND p.amoplefttype = k.opcintype AND p.amoprighttype = k.opcintype AND p.amopstrategy = 3
        JOIN pg_operator o ON o.oid = p.amopopr JOIN pg_namespace m ON m.oid = o.oprnamespace
       WHERE k.opcdefault AND k.opcintype = base.oid AND m.nspname <> 'pg_catalog') AS own ON true`;

/**
 * A text expression as a value of the column's type, read by the type's input function, as COPY reads it. An array's elements always
 * are (PostgreSQL: "CREATE CAST", Notes on I/O conversion).
 */
export function castText(type: ValueType, text: string): string {
  return type.isCastOtherwise ? `((ARRAY[${text}]::text)::${type.cast}[])[1]` : `${text}::${type.cast}`;
}
