/** A set of code points that are exchanged for one another. */
export interface Alphabet {
  readonly name: string;
  readonly size: number;
  indexOf(code: number): number;
  at(index: number): number;
}

type Range = readonly [first: number, last: number];

/** Ranges of one kind of letters; together with the separators they never change, whatever Unicode adds. */
const NAMED: readonly { readonly name: string; readonly ranges: readonly Range[] }[] = [
  { name: 'digits', ranges: [[0x30, 0x39]] },
  { name: 'upper', ranges: [[0x41, 0x5a]] },
  { name: 'lower', ranges: [[0x61, 0x7a]] },
  {
    name: 'Latin upper',
    ranges: [
      [0xc0, 0xd6],
      [0xd8, 0xde],
    ],
  },
  {
    name: 'Latin lower',
    ranges: [
      [0xdf, 0xf6],
      [0xf8, 0xff],
    ],
  },
  {
    name: 'Greek upper',
    ranges: [
      [0x391, 0x3a1],
      [0x3a3, 0x3a9],
    ],
  },
  { name: 'Greek lower', ranges: [[0x3b1, 0x3c9]] },
  { name: 'Cyrillic upper', ranges: [[0x410, 0x42f]] },
  { name: 'Cyrillic lower', ranges: [[0x430, 0x44f]] },
  { name: 'Hiragana', ranges: [[0x3041, 0x3094]] },
  { name: 'Katakana', ranges: [[0x30a1, 0x30fa]] },
  { name: 'Han', ranges: [[0x4e00, 0x9fa5]] },
  { name: 'Hangul', ranges: [[0xac00, 0xd7a3]] },
];
/** They stay as they are: ASCII and Latin-1 but letters and digits, general punctuation, CJK punctuation. */
const SEPARATORS: readonly Range[] = [
  [0x00, 0xff],
  [0x2000, 0x206f],
  [0x3000, 0x303f],
];
const BLOCK = 128;

const alphabets: readonly (Alphabet & { readonly ranges: readonly Range[] })[] = NAMED.map(({ name, ranges }) => ({
  ...makeAlphabet(name, ranges),
  ranges,
}));

/** The alphabet of a character; null for a separator. What is in no range above is exchanged within its block of 128, so nothing shows. */
export function alphabetOf(code: number): Alphabet | null {
  const named = alphabets.find(({ ranges }) => isIn(code, ranges));
  if (named !== undefined) return named;
  if (isIn(code, SEPARATORS)) return null;
  const start = code - (code % BLOCK);
  const codes = Array.from({ length: BLOCK }, (_, at) => start + at).filter(
    (other) => !isIn(other, SEPARATORS) && alphabets.every(({ ranges }) => !isIn(other, ranges)),
  );
  return makeAlphabet(
    `block ${start}`,
    codes.map((other) => [other, other]),
  );
}

function makeAlphabet(name: string, ranges: readonly Range[]): Alphabet {
  return {
    name,
    size: ranges.reduce((size, [first, last]) => size + last - first + 1, 0),
    indexOf: (code) => {
      let before = 0;
      for (const [first, last] of ranges) {
        if (code >= first && code <= last) return before + code - first;
        before += last - first + 1;
      }
      return 0;
    },
    at: (index) => {
      let left = index;
      for (const [first, last] of ranges) {
        if (left <= last - first) return first + left;
        left -= last - first + 1;
      }
      return 0;
    },
  };
}

function isIn(code: number, ranges: readonly Range[]): boolean {
  return ranges.some(([first, last]) => code >= first && code <= last);
}
