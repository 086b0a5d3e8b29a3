import * as z from 'zod';
import type { Option } from '#core/option-table.ts';
import { maskOptions, type MaskPath } from '#core/rules/mask-options.ts';
import { OUTBOX_OPTIONS } from '#core/outbox/outbox-options.ts';

const text = z.string().min(1);

/** What a rule may say. Paths are spelt out: their types come from the table. */
export const RULE_OPTIONS = [
  {
    path: 'transform.outputs[].rules[].table',
    type: text,
    default: undefined,
    env: null,
    example: 'public.old_orders',
    about:
      'The source table, `schema.table`; parts with a dot in double quotes. Several rules may name one table, which splits it. Tables without a rule pass unchanged.',
  },
  {
    path: 'transform.outputs[].rules[].rename',
    type: text,
    default: null,
    env: null,
    example: 'public.orders',
    about:
      "The table's name at the target, `schema.table`. Rules of several tables may give one: it has the rows of all.",
  },
  {
    path: 'transform.outputs[].rules[].columns.rename.*',
    type: text,
    default: null,
    env: null,
    example: '{ cust: customer_id }',
    about: 'Columns to rename: old name to new name.',
  },
  {
    path: 'transform.outputs[].rules[].columns.drop',
    type: z.array(text),
    default: [],
    env: null,
    example: '[internal_note]',
    about: 'Columns to leave out.',
  },
  {
    path: 'transform.outputs[].rules[].columns.keep',
    type: z.array(text).min(1),
    default: null,
    env: null,
    example: '[id, email]',
    about: 'Only these columns pass, and none that is added to the table later.',
  },
  {
    path: 'transform.outputs[].rules[].columns.order',
    type: z.array(text),
    default: [],
    env: null,
    example: '[id, name]',
    about: "Columns that come first, by their new names, where Restage makes the target's table.",
  },
  {
    path: 'transform.outputs[].rules[].columns.cast.*',
    type: text,
    default: null,
    env: null,
    example: '{ amount: "numeric(12,2)" }',
    about: 'Columns of another type: name to type. A value that does not fit fails its row.',
  },
  ...maskOptions('transform.outputs[].rules[].columns.mask.*' satisfies MaskPath),
  {
    path: 'transform.outputs[].rules[].set[].column',
    type: text,
    default: undefined,
    env: null,
    example: 'full_name',
    about: 'A computed column; one of the table with this name is replaced.',
  },
  {
    path: 'transform.outputs[].rules[].set[].type',
    type: text,
    default: undefined,
    env: null,
    example: 'text',
    about: 'Its type, as PostgreSQL writes it.',
  },
  {
    path: 'transform.outputs[].rules[].set[].value',
    type: text,
    default: undefined,
    env: null,
    example: '\'first + " " + last\'',
    about: "CEL over the table's columns. See docs/rules.md.",
  },
  {
    path: 'transform.outputs[].rules[].where',
    type: text,
    default: null,
    env: null,
    example: '"amount >= 0"',
    about:
      "CEL over the row's columns: rows for which it is true pass. Columns outside the identity need REPLICA IDENTITY FULL.",
  },
  {
    path: 'transform.outputs[].rules[].lookUp[].as',
    type: text,
    default: undefined,
    env: null,
    example: 'customer',
    about: "What the looked up row is called in the rule's expressions: `customer.name`.",
  },
  {
    path: 'transform.outputs[].rules[].lookUp[].table',
    type: text,
    default: undefined,
    env: null,
    example: 'public.customers',
    about:
      'The captured table that it is of, `schema.table`, as the source has it. Where there is no row its columns are NULL.',
  },
  {
    path: 'transform.outputs[].rules[].lookUp[].on.*',
    type: text,
    default: undefined,
    env: null,
    example: '{ id: customer_id }',
    about: "Each column of that table's key, and the column of this row that has its value.",
  },
  {
    path: 'transform.outputs[].rules[].state',
    type: z.boolean(),
    default: false,
    env: null,
    example: 'true',
    about:
      "Keep the values that the rule reads in the output's state (topics `<name>.state.*`), so that the table needs no REPLICA IDENTITY FULL.",
  },
  {
    path: 'transform.outputs[].rules[].key',
    type: z.array(text).min(1),
    default: null,
    env: null,
    example: '[id, position]',
    derived: "the source table's identity",
    about: 'What names a row at the target, by the new names.',
  },
  {
    path: 'transform.outputs[].rules[].unnest.column',
    type: text,
    default: null,
    env: null,
    example: 'items',
    about: 'An array, jsonb or json column: the table has a row for each of its elements. Needs `key`.',
  },
  {
    path: 'transform.outputs[].rules[].unnest.as',
    type: text,
    default: 'item',
    env: null,
    example: 'item',
    about: "The element's column.",
  },
  {
    path: 'transform.outputs[].rules[].unnest.position',
    type: text,
    default: null,
    env: null,
    example: 'position',
    about: 'A column that counts the elements from 1.',
  },
  ...OUTBOX_OPTIONS,
] as const satisfies readonly Option[];
