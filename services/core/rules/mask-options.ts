import * as z from 'zod';
import type { Option } from '#core/option-table.ts';
import { MASK_METHODS, MASK_OUTPUTS } from '#core/rules/values/mask-types.ts';

const text = z.string().min(1);
const count = z.number().int().min(0).max(1_000);

/** A mask's options below any path, `….mask.*`: the star is the column. */
export function maskOptions<const P extends string>(path: P) {
  return [
    {
      path: `${path}.method`,
      type: z.enum(MASK_METHODS),
      default: undefined,
      env: null,
      example: 'hmac',
      about:
        'What becomes of the values: `hmac` and `hash` (SHA-256), `partial` (some characters stay), `format` (digits to digits, letters to letters), `nullify`, `fixed`. See docs/masks.md.',
    },
    ...hashOptions(path),
    ...partialOptions(path),
    {
      path: `${path}.value`,
      type: z.string(),
      default: null,
      env: null,
      example: 'unknown',
      about: '`fixed`: the value, as text.',
    },
  ] as const satisfies readonly Option[];
}

function hashOptions<const P extends string>(path: P) {
  return [
    {
      path: `${path}.key`,
      type: text,
      default: null,
      env: null,
      example: 'k1',
      about: '`hmac` and `format`: which of `masks.keys`.',
    },
    {
      path: `${path}.salt`,
      type: z.string(),
      default: null,
      env: null,
      example: '"${SALT}"',
      about: '`hash`: what stands before the value.',
    },
    {
      path: `${path}.output`,
      type: z.enum(MASK_OUTPUTS),
      default: null,
      derived: 'a uuid as uuid, bytea as its bytes, text as `hex`',
      env: null,
      example: 'base64url',
      about: '`hmac` and `hash`: how the result is written.',
    },
  ] as const satisfies readonly Option[];
}

function partialOptions<const P extends string>(path: P) {
  return [
    {
      path: `${path}.keepFirst`,
      type: count,
      default: 0,
      env: null,
      example: '1',
      about: '`partial`: characters at the beginning that stay.',
    },
    {
      path: `${path}.keepLast`,
      type: count,
      default: 0,
      env: null,
      example: '4',
      about: '`partial`: characters at the end that stay.',
    },
    {
      path: `${path}.keepDomain`,
      type: z.boolean(),
      default: false,
      env: null,
      example: 'true',
      about: '`partial`: what follows the last @ stays.',
    },
    {
      path: `${path}.filler`,
      type: text,
      default: '*',
      env: null,
      example: 'x',
      about: '`partial`: the character that takes the place of the others.',
    },
  ] as const satisfies readonly Option[];
}

/** Where masks may stand. */
export type MaskPath = 'source.columns[].mask.*' | 'transform.outputs[].rules[].columns.mask.*';

/** What the producer does to columns before anything of them is written, and the secrets of all masks. */
export const MASK_OPTIONS = [
  {
    path: 'source.columns[].table',
    type: text,
    default: undefined,
    env: null,
    example: 'public.customers',
    about:
      'A captured table, `schema.table`, whose columns are masked or left out at capture: their values are in no topic.',
  },
  {
    path: 'source.columns[].exclude',
    type: z.array(text),
    default: [],
    env: null,
    example: '[notes]',
    about: 'Columns that are not captured. Tables at the targets have no such column.',
  },
  ...maskOptions('source.columns[].mask.*' satisfies MaskPath),
  {
    path: 'masks.keys.*',
    type: z.string().min(16, 'a key has 16 characters at least: openssl rand -hex 32'),
    default: null,
    env: null,
    example: '{ k1: "${MASK_KEY_1}" }',
    about:
      'Secrets of masks by an id of your choice, which structures and messages show; take them from the environment.',
  },
] as const satisfies readonly Option[];
