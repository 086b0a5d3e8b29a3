import { named, required, type ConnectValue } from './connect-schema.ts';
import { integerBytes, parseDecimal, stripZeros, unscaledAt, type Decimal } from './decimal-value.ts';
import type { MapperFactory, ValueMapper } from './value-mapper.ts';

const MONEY_DIGITS = 2;
const UNBOUNDED_BITS = 2_147_483_647;
const ZERO: Decimal = { unscaled: 0n, scale: 0 };

const DECIMAL = 'org.apache.kafka.connect.data.Decimal';
const VARIABLE_DECIMAL = named('struct', 'io.debezium.data.VariableScaleDecimal', {
  doc: 'Variable scaled decimal',
  fields: [
    { name: 'scale', schema: required('int32') },
    { name: 'value', schema: required('bytes') },
  ],
});

function plain(type: 'int16' | 'int32' | 'float' | 'double', convert: (text: string) => number): () => ValueMapper {
  return () => ({ schema: required(type), convert, zero: 0, unavailable: null });
}

export const int2 = plain('int16', Number);
export const int4 = plain('int32', Number);
export const float4 = plain('float', Number);
export const float8 = plain('double', Number);

export const int8 = (): ValueMapper => ({ schema: required('int64'), convert: BigInt, zero: 0n, unavailable: null });

export const bool = (): ValueMapper => ({
  schema: required('boolean'),
  convert: (text) => text === 't',
  zero: false,
  unavailable: null,
});

export const numeric: MapperFactory = ({ modifiers }, { decimalHandlingMode: mode, unavailableValuePlaceholder }) => {
  const [precision, scale = 0] = modifiers;
  const zeroScale = precision === undefined ? 0 : scale;
  if (mode === 'string') {
    return {
      schema: required('string'),
      convert: (text) => withDigits(text, zeroScale),
      zero: withDigits('0', zeroScale),
      unavailable: unavailableValuePlaceholder,
    };
  }
  if (mode === 'double') return { ...float8() };
  if (precision === undefined) {
    return {
      schema: VARIABLE_DECIMAL,
      convert: (text) => variable(parseDecimal(text)),
      zero: variable(ZERO),
      unavailable: null,
    };
  }
  return {
    schema: named('bytes', DECIMAL, {
      parameters: { scale: String(scale), 'connect.decimal.precision': String(precision) },
    }),
    convert: (text) => fixed(parseDecimal(text), scale),
    zero: fixed(ZERO, scale),
    unavailable: null,
  };
};

/** Of a session with lc_monetary = C: `-$1,234.50`. */
export const money: MapperFactory = (_type, { decimalHandlingMode: mode }) => {
  const plainText = (text: string): string => text.replaceAll(/[^\d.-]/g, '');
  if (mode === 'string') return { schema: required('string'), convert: plainText, zero: '0.00', unavailable: null };
  if (mode === 'double') return { ...float8(), convert: (text) => Number(plainText(text)) };
  return {
    schema: named('bytes', DECIMAL, { parameters: { scale: String(MONEY_DIGITS) } }),
    convert: (text) => fixed(parseDecimal(plainText(text)), MONEY_DIGITS),
    zero: fixed(ZERO, MONEY_DIGITS),
    unavailable: null,
  };
};

/** One bit is a boolean; more are little-endian bytes, as few as hold the highest bit that is set. */
export const bits: MapperFactory = ({ modifiers, name }) => {
  const length = modifiers[0] ?? (name === 'varbit' ? UNBOUNDED_BITS : 1);
  if (length === 1) return { ...bool(), convert: (text) => text === '1' };
  return {
    schema: named('bytes', 'io.debezium.data.Bits', { parameters: { length: String(length) } }),
    convert: bitBytes,
    zero: Buffer.alloc(0),
    unavailable: null,
  };
};

function bitBytes(text: string): Buffer {
  const significant = text.replace(/^0+/, '');
  if (significant === '') return Buffer.alloc(0);
  const hex = BigInt(`0b${significant}`).toString(16);
  return Buffer.from([...Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex')].toReversed());
}

/** A default may have fewer digits behind the point than its column. */
function withDigits(text: string, digits: number): string {
  const point = text.indexOf('.');
  const there = point < 0 ? 0 : text.length - point - 1;
  if (there >= digits || !/^-?\d/.test(text)) return text;
  return `${text}${point < 0 ? '.' : ''}${'0'.repeat(digits - there)}`;
}

function fixed(decimal: Decimal | null, scale: number): ConnectValue {
  return decimal === null ? null : integerBytes(unscaledAt(decimal, scale));
}

function variable(decimal: Decimal | null): ConnectValue {
  if (decimal === null) return null;
  const { unscaled, scale } = stripZeros(decimal);
  return [scale, integerBytes(unscaled)];
}
