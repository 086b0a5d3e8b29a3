import { createHash, createHmac } from 'node:crypto';
import { RestageError } from '#core/errors.ts';
import { nearest } from '#core/nearest.ts';
import { compileCast } from '#core/rules/values/cast.ts';
import { lengthOf } from '#core/rules/values/fit.ts';
import { compileFormat } from '#core/rules/values/format-mask.ts';
import type { Mask, MaskOptions, MaskOutput, MaskSpec } from '#core/rules/values/mask-types.ts';
import { RuleFailure } from '#core/rules/values/rule-failure.ts';
import { bytesText, uuidText } from '#core/rules/values/text-input.ts';
import { builtInName, plainType } from '#core/rules/values/value-types.ts';
import type { ColumnStructure } from '#core/structure.ts';

type TextMask = (text: string) => string;
type Of<M extends MaskSpec['method']> = Extract<MaskSpec, { method: M }>;

const TEXTS: ReadonlySet<string | null> = new Set(['text', 'varchar', 'bpchar']);
const DIGEST_LENGTHS: Readonly<Record<MaskOutput, number>> = { hex: 64, base64url: 43, uuid: 36 };
/** Shorter secrets can be found by trying. */
const LEAST_KEY = 16;

/**
 * A mask gives a value of the column's own type, or is refused here. @throws RestageError rule_invalid, never with a secret.
 */
export function compileMask(spec: MaskSpec, column: ColumnStructure, options: MaskOptions): Mask {
  const refuse = refusalOf(spec, column, options.where);
  if (column.generated)
    throw refuse('the column is generated: events do not carry it', 'mask what it is computed from');
  if (options.isKey && spec.method !== 'hmac' && spec.method !== 'format')
    throw refuse('the column is part of a key, and different values must stay different', 'use hmac or format');
  const { id, mask } = compileMethod(spec, column, options, refuse);
  return { id, apply: (text) => (text === null || mask === null ? null : mask(text)) };
}

type Refuse = (what: string, fix?: string) => RestageError;

function compileMethod(
  spec: MaskSpec,
  column: ColumnStructure,
  options: MaskOptions,
  refuse: Refuse,
): { readonly id: string; readonly mask: TextMask | null } {
  switch (spec.method) {
    case 'hmac': {
      const { secret, name } = keyOf(spec.key, options, refuse);
      const write = digestWriter(spec, column, refuse);
      return {
        id: `hmac(${name},${write.name})`,
        mask: (text) => write.write(createHmac('sha256', secret).update(valueOf(text, column), 'utf8').digest()),
      };
    }
    case 'hash': {
      const write = digestWriter(spec, column, refuse);
      return {
        id: `hash(${fingerprint(spec.salt)},${write.name})`,
        mask: (text) =>
          write.write(createHash('sha256').update(spec.salt, 'utf8').update(valueOf(text, column), 'utf8').digest()),
      };
    }
    case 'partial':
      return compilePartial(spec, column, refuse);
    case 'format': {
      const { secret, name } = keyOf(spec.key, options, refuse);
      const mask = compileFormat(column, secret, options.isKey);
      if (mask === null)
        throw refuse('format takes text, whole numbers, uuid, and numeric with a scale', 'use hmac, fixed or nullify');
      return { id: `format(${name})`, mask };
    }
    case 'nullify':
      if (column.notNull) throw refuse('the column is NOT NULL', 'use fixed');
      return { id: 'nullify', mask: null };
    case 'fixed': {
      const value = fixedValue(spec, column, refuse);
      return { id: `fixed(${fingerprint(value)})`, mask: () => value };
    }
  }
}

/** Spaces at the end of a character(n) are no part of its value. */
function valueOf(text: string, column: ColumnStructure): string {
  return builtInName(column) === 'bpchar' ? text.replace(/ +$/, '') : text;
}

function keyOf(id: string, { keys }: MaskOptions, refuse: Refuse): { readonly secret: string; readonly name: string } {
  const secret = keys.get(id);
  if (secret === undefined) {
    const near = nearest(id, [...keys.keys()]);
    throw refuse(`masks.keys has no ${id}`, near === null ? `give masks.keys.${id}` : `did you mean ${near}?`);
  }
  if (Buffer.byteLength(secret) < LEAST_KEY)
    throw refuse(`the key ${id} is shorter than ${LEAST_KEY} bytes`, 'make one, for example: openssl rand -hex 32');
  return { secret, name: `${id}#${fingerprint(secret)}` };
}

/** 32 bits that tell one secret from another, and too few to find a good one by. */
function fingerprint(secret: string): string {
  return createHmac('sha256', 'restage mask').update(secret, 'utf8').digest('hex').slice(0, 8);
}

function digestWriter(
  { output, method }: Of<'hmac'> | Of<'hash'>,
  column: ColumnStructure,
  refuse: Refuse,
): { readonly name: string; readonly write: (digest: Buffer) => string } {
  const name = builtInName(column);
  if (name === 'bytea' && output === null) return { name: 'bytes', write: bytesText };
  if (name === 'uuid' && (output === null || output === 'uuid')) return { name: 'uuid', write: digestUuid };
  const form = output ?? 'hex';
  const write = (digest: Buffer): string => (form === 'uuid' ? digestUuid(digest) : digest.toString(form));
  if (name === 'json' || name === 'jsonb') return { name: form, write: (digest) => JSON.stringify(write(digest)) };
  if (!TEXTS.has(name)) throw refuse(`${method} gives text, uuid or bytea`, 'use format, fixed or nullify');
  const most = column.modifiers === '' ? Number.POSITIVE_INFINITY : Number(column.modifiers);
  const length = DIGEST_LENGTHS[form];
  if (length > most)
    throw refuse(`${method} as ${form} has ${length} characters`, 'use format, or a shorter output: base64url, uuid');
  const pad = name === 'bpchar' && Number.isFinite(most) ? ' '.repeat(most - length) : '';
  return { name: form, write: (digest) => `${write(digest)}${pad}` };
}

/** Version 8 of RFC 9562: 122 bits of our own. */
function digestUuid(digest: Buffer): string {
  const bytes = Buffer.from(digest.subarray(0, 16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x80;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  return uuidText(bytes);
}

function compilePartial(
  spec: Of<'partial'>,
  column: ColumnStructure,
  refuse: Refuse,
): { readonly id: string; readonly mask: TextMask } {
  if (!TEXTS.has(builtInName(column))) throw refuse('partial takes text', 'use format, fixed or nullify');
  if (lengthOf(spec.filler) !== 1) throw refuse('the filler is one character');
  const { keepFirst, keepLast, keepDomain, filler } = spec;
  const cover: TextMask = (text) => {
    const characters = Array.from(text);
    // What is too short to hide anything is hidden whole.
    const isShort = characters.length <= keepFirst + keepLast;
    return characters
      .map((character, index) =>
        !isShort && (index < keepFirst || index >= characters.length - keepLast) ? character : filler,
      )
      .join('');
  };
  return {
    id: `partial(${keepFirst},${keepLast},${keepDomain ? 'domain' : 'all'},${filler})`,
    mask: (text) => {
      const value = valueOf(text, column);
      const padding = text.slice(value.length);
      const at = keepDomain ? value.lastIndexOf('@') : -1;
      return at < 0 ? `${cover(value)}${padding}` : `${cover(value.slice(0, at))}${value.slice(at)}${padding}`;
    },
  };
}

function fixedValue({ value }: Of<'fixed'>, column: ColumnStructure, refuse: Refuse): string {
  if (column.enumLabels !== null && column.element === undefined) {
    if (column.enumLabels.includes(value)) return value;
    throw refuse('the value is none of the labels of the type');
  }
  try {
    return compileCast(plainType('text'), column, '')(value) ?? value;
  } catch (error) {
    if (error instanceof RuleFailure) throw refuse(`the value is no ${column.type} (${error.reason})`);
    throw refuse(`there is no fixed value of ${column.type}`, 'use nullify');
  }
}

function refusalOf({ method }: MaskSpec, column: ColumnStructure, where: string): Refuse {
  return (what, fix) =>
    new RestageError('rule_invalid', `mask ${method} does not fit column ${column.name} (${column.type}): ${what}`, {
      where,
      ...(fix === undefined ? {} : { fix }),
    });
}
