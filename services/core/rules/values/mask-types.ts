/** How a mask writes what it computes; without it the column's type says: a uuid as uuid, bytea as its bytes, a text as hex. */
export const MASK_OUTPUTS = ['hex', 'base64url', 'uuid'] as const;
export type MaskOutput = (typeof MASK_OUTPUTS)[number];

export const MASK_METHODS = ['hmac', 'hash', 'partial', 'format', 'nullify', 'fixed'] as const;
export type MaskMethod = (typeof MASK_METHODS)[number];

/** What becomes of a column's values. `key` is the id of one of `masks.keys`. */
export type MaskSpec =
  /** HMAC-SHA-256: the same value gives the same mask wherever the key is the same, so joins still hold. */
  | { readonly method: 'hmac'; readonly key: string; readonly output: MaskOutput | null }
  /** SHA-256 of salt and value. Who has the salt can try values; of few possible values that finds them all. */
  | { readonly method: 'hash'; readonly salt: string; readonly output: MaskOutput | null }
  /** Characters but the first and the last ones become `filler`; of an e-mail address the domain may stay. */
  | {
      readonly method: 'partial';
      readonly keepFirst: number;
      readonly keepLast: number;
      readonly keepDomain: boolean;
      readonly filler: string;
    }
  /** Digits to digits, letters to letters, the rest and the length as they are; different values stay different. */
  | { readonly method: 'format'; readonly key: string }
  | { readonly method: 'nullify' }
  | { readonly method: 'fixed'; readonly value: string };

/** Secrets by their ids (`masks.keys`). */
export type MaskKeys = ReadonlyMap<string, string>;

export interface MaskOptions {
  /** Names rule and column, for messages. */
  readonly where: string;
  readonly keys: MaskKeys;
  /** The column is part of a primary key, a unique key or the row's identity: then different values must stay different. */
  readonly isKey: boolean;
}

/** A compiled mask. NULL stays NULL. */
export interface Mask {
  /** Method, key id and what else decides, without a secret: the same id gives the same masks. Part of a structure's version. */
  readonly id: string;
  readonly apply: (text: string | null) => string | null;
}
