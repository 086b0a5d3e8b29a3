import { RE2JS } from 're2js';
import { coerce, commonKind } from '#core/rules/values/expression-coercion.ts';
import { arrayElements } from '#core/rules/values/array-text.ts';
import type { Json } from '#core/debezium-source/exact-json.ts';
import { type Cell, type Node, type StaticType, type Value } from '#core/rules/values/expression-node.ts';
import { orderOfKind } from '#core/rules/values/expression-operators.ts';
import { jsonScalarText, kindOfType, makeWriter, readerOf } from '#core/rules/values/expression-text.ts';
import { isList, parseJsonText } from '#core/rules/values/json-text.ts';
import { RuleFailure } from '#core/rules/values/rule-failure.ts';
import { elementOf, plainType } from '#core/rules/values/value-types.ts';

/** A call whose arguments are compiled. */
export interface Call {
  readonly name: string;
  readonly args: readonly Node[];
  /** For a call that does not fit. */
  fail(what: string, fix?: string): Error;
}

/** Calls that see NULLs, types or literals, which functions do not. null: not this form, look among the functions. */
export type SpecialForm = (call: Call) => Node | null;

export const SPECIAL_FORMS: ReadonlyMap<string, SpecialForm> = new Map<string, SpecialForm>([
  ['coalesce', coalesce],
  ['concat', concat],
  ['format', format],
  ['greatest', (call) => extreme(call, 1)],
  ['least', (call) => extreme(call, -1)],
  ['string', toText],
  ['json', parseDocument],
  ['items', items],
  ['size', sizeOfJson],
  ['matches', matches],
  ['regexReplace', regexReplace],
  ['regexExtract', regexExtract],
]);

/** Brings nodes to one kind, NULL literals too. null where there is none. */
export function unify(nodes: readonly Node[]): { readonly type: StaticType; readonly nodes: readonly Node[] } | null {
  const [first, ...rest] = nodes;
  if (first === undefined) return { type: { kind: 'null' }, nodes: [] };
  let widest = first;
  for (const node of rest) {
    const kind = commonKind(widest, node);
    const wide = kind === null ? null : coerce(widest, kind);
    if (wide === null) return null;
    widest = wide.type.kind === 'list' && isEmptyList(wide.type) ? node : widest.type.kind === 'null' ? node : wide;
  }
  const { type } = widest;
  const unified = nodes.map((node) => coerce(node, type.kind));
  const isSame = unified.every((node) => node !== null && hasSameElement(node.type, type));
  const all = unified.filter((node) => node !== null);
  return isSame ? { type: plain(type), nodes: all } : null;
}

function hasSameElement(left: StaticType, right: StaticType): boolean {
  if (left.kind !== 'list' || right.kind !== 'list' || isEmptyList(left) || isEmptyList(right)) return true;
  return left.element?.kind === right.element?.kind;
}

function isEmptyList(type: StaticType): boolean {
  return type.kind === 'list' && (type.element === undefined || type.element.kind === 'null');
}

/** What is not a column alone has no column's type. */
function plain({ kind, element }: StaticType): StaticType {
  return element === undefined ? { kind } : { kind, element };
}

function coalesce(call: Call): Node {
  const unified = unify(call.args);
  if (unified === null || call.args.length === 0) throw call.fail('coalesce takes values of one kind');
  const { nodes, type } = unified;
  return {
    type,
    run: (row) => {
      for (const node of nodes) {
        const value = node.run(row);
        if (value !== null) return value;
      }
      return null;
    },
    ...constancy(nodes),
  };
}

/** As SQL's: NULL counts as nothing. */
function concat(call: Call): Node {
  const parts = call.args.map((arg) => textNode(arg, call));
  return {
    type: { kind: 'string' },
    run: (row) => parts.map((part) => (part.run(row) as string | null) ?? '').join(''),
    ...constancy(parts),
  };
}

/** `format("%s of %s", a, b)`: NULL counts as nothing, `%%` is a percent sign. */
function format(call: Call): Node {
  const [template, ...rest] = call.args;
  const pattern = template?.literal;
  if (pattern === undefined || template?.type.kind !== 'string') throw call.fail('format takes a literal text first');
  const pieces = pattern.split(/(%.)/s);
  if (pieces.some((piece) => /^%[^s%]$/s.test(piece)) || pattern.replaceAll(/%[s%]/g, '').includes('%'))
    throw call.fail('format knows %s and %% alone');
  if (pieces.filter((piece) => piece === '%s').length !== rest.length)
    throw call.fail('format takes as many values as its text has %s');
  const parts = rest.map((arg) => textNode(arg, call));
  return {
    type: { kind: 'string' },
    run: (row) => {
      let next = 0;
      const shown = pieces.map((piece) => {
        if (piece === '%%') return '%';
        if (piece !== '%s') return piece;
        const part = parts[next];
        next += 1;
        return (part?.run(row) as string | null | undefined) ?? '';
      });
      return shown.join('');
    },
    ...constancy(parts),
  };
}

/** As SQL's GREATEST and LEAST: NULLs are passed over. */
function extreme(call: Call, sign: 1 | -1): Node {
  const unified = unify(call.args);
  const order = unified === null ? null : orderOfKind(unified.type.kind);
  if (unified === null || order === null || call.args.length === 0)
    throw call.fail(`${call.name} takes values of one kind that has an order`);
  const { nodes, type } = unified;
  return {
    type,
    run: (row) => {
      let best: Cell = null;
      for (const node of nodes) {
        const value = node.run(row);
        if (value !== null && (best === null || order(value, best) * sign > 0)) best = value;
      }
      return best;
    },
    ...constancy(nodes),
  };
}

function toText(call: Call): Node {
  const [arg] = call.args;
  if (arg === undefined || call.args.length !== 1) throw call.fail('string takes one value');
  if (arg.type.kind === 'bytes') throw call.fail('bytes are no text', 'write hex(…) or base64(…)');
  return textNode(arg, call);
}

function textNode(node: Node, call: Call): Node {
  if (node.type.kind === 'string') return node;
  if (node.type.kind === 'list' || node.type.kind === 'bytes') throw call.fail(`a ${node.type.kind} is no text`);
  const write = node.type.kind === 'json' ? jsonScalarText : makeWriter(node.type, plainType('text'), '');
  return strict({ kind: 'string' }, [node], ([value]) => write(value as Value));
}

function parseDocument(call: Call): Node {
  const [arg] = call.args;
  if (arg?.type.kind !== 'string' || call.args.length !== 1) throw call.fail('json takes a text');
  return strict({ kind: 'json' }, [arg], ([text]) => parseJsonText(text as string));
}

/** An array's or a JSON array's elements. */
function items(call: Call): Node {
  const [arg] = call.args;
  if (arg === undefined || call.args.length !== 1) throw call.fail('items takes one value');
  if (arg.type.kind === 'list') return arg;
  if (arg.type.kind === 'json')
    return strict({ kind: 'list', element: { kind: 'json' } }, [arg], ([value]) => listOf(value as Json));
  const element = arg.type.column === undefined ? null : elementOf(arg.type.column);
  if (element === null) throw call.fail('items takes a column that is an array, or an array inside JSON');
  const read = readerOf(element);
  return strict({ kind: 'list', element: { kind: kindOfType(element), column: element } }, [arg], ([text]) =>
    arrayElements(text as string).map((item) => (item === null ? null : read(item))),
  );
}

function sizeOfJson(call: Call): Node | null {
  const [arg] = call.args;
  if (arg?.type.kind !== 'json') return null;
  return strict({ kind: 'int' }, [arg], ([value]) => {
    if (value instanceof Map) return BigInt(value.size);
    return BigInt(listOf(value as Json).length);
  });
}

function listOf(value: Json): readonly Json[] {
  if (!isList(value)) throw new RuleFailure('wrong_type', 'a value inside JSON is no array');
  return value;
}

/** Whether the pattern occurs anywhere in the text. */
function matches(call: Call): Node {
  const [text] = call.args;
  const pattern = patternOf(call, 2);
  return strict({ kind: 'bool' }, [text as Node], ([value]) => pattern.matcher(value as string).find());
}

/** Every occurrence; `$1` in the new text is the pattern's first group. */
function regexReplace(call: Call): Node {
  const [text, , by] = call.args;
  const pattern = patternOf(call, 3);
  if (by?.type.kind !== 'string') throw call.fail('regexReplace takes a text, a pattern and a text');
  return strict({ kind: 'string' }, [text as Node, by], ([value, to]) =>
    pattern.matcher(value as string).replaceAll(to as string),
  );
}

/** The pattern's first group, or what it matches where it has none; NULL where it does not occur. */
function regexExtract(call: Call): Node {
  const [text] = call.args;
  const pattern = patternOf(call, 2);
  const group = pattern.groupCount() > 0 ? 1 : 0;
  return strict({ kind: 'string' }, [text as Node], ([value]) => {
    const matcher = pattern.matcher(value as string);
    return matcher.find() ? matcher.group(group) : null;
  });
}

/** A pattern is compiled with the rule, by an engine whose time grows with the text's length alone. */
function patternOf(call: Call, count: number): RE2JS {
  const [text, pattern] = call.args;
  if (call.args.length !== count || text?.type.kind !== 'string')
    throw call.fail(`${call.name} takes a text and a pattern`);
  if (pattern?.literal === undefined || pattern.type.kind !== 'string')
    throw call.fail('a pattern must be written out: it is checked with the rule');
  try {
    return RE2JS.compile(pattern.literal);
  } catch (error) {
    const reason = error instanceof Error ? error.message.replace(/^error parsing regexp: /, '') : String(error);
    throw call.fail(
      `the pattern cannot be used: ${reason}`,
      'patterns are of RE2, which takes linear time: without back-references and look-around',
    );
  }
}

/** NULL where any argument is. */
export function strict(type: StaticType, nodes: readonly Node[], run: (values: readonly Cell[]) => Cell): Node {
  return {
    type,
    run: (row) => {
      const values: Cell[] = [];
      for (const node of nodes) {
        const value = node.run(row);
        if (value === null) return null;
        values.push(value);
      }
      return run(values);
    },
    ...constancy(nodes),
  };
}

function constancy(nodes: readonly Node[]): { isConstant?: true } {
  return nodes.every((node) => node.isConstant === true) ? { isConstant: true } : {};
}
