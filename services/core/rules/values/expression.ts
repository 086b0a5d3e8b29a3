import { Environment } from '@marcbachmann/cel-js';
import type { Image } from '#core/change.ts';
import { RestageError } from '#core/errors.ts';
import { compileCast } from '#core/rules/values/cast.ts';
import { ColumnScope } from '#core/rules/values/expression-columns.ts';
import { Compiler } from '#core/rules/values/expression-compiler.ts';
import { isSyntax, type Node, type Place, type Syntax } from '#core/rules/values/expression-node.ts';
import { makeWriter, ownType } from '#core/rules/values/expression-text.ts';
import type { Expression, ExpressionContext, ExpressionOptions } from '#core/rules/values/expression-types.ts';
import type { ValueType } from '#core/rules/values/value-types.ts';
import type { ColumnStructure } from '#core/structure.ts';

/** Only its parser is used: kinds, NULLs and values are ours, since CEL's own numbers and times round. */
const parser = new Environment({ unlistedVariablesAreDyn: true });

type Evaluation = (image: Image, context: ExpressionContext) => string | null;

/**
 * A CEL expression over a row's columns: bool, int64, exact decimals for numeric, doubles for float4 and float8, times in microseconds,
 * bytes for bytea, strings for the rest; what depends on a NULL is NULL, as in SQL. Checked against the columns before the first row.
 * @throws RestageError rule_invalid.
 */
export function compileExpression(
  text: string,
  columns: readonly ColumnStructure[],
  { where, result = null, rows = new Map() }: ExpressionOptions,
): Expression {
  const place: Place = { where: `${where}: ${text}`, text };
  const scope = new ColumnScope(place, columns, rows);
  const syntax = parse(place);
  const node = new Compiler(scope).compile(syntax);
  const type = result ?? ownType(node.type);
  return {
    columns: [...scope.used],
    reads: new Map([...scope.usedOfRows].map(([name, used]) => [name, [...used]])),
    readsTime: scope.readsTime,
    kind: node.type.kind,
    type,
    evaluate: withContext(plainColumn(syntax, columns, type, place) ?? computed(node, type, place)),
    test: (image, context = {}) => node.run({ image, context, locals: [] }) as boolean | null,
  };
}

function parse(place: Place): Syntax {
  try {
    const syntax: unknown = parser.parse(place.text).ast;
    if (isSyntax(syntax)) return syntax;
  } catch (cause) {
    const reason = cause instanceof Error ? (cause.message.split('\n')[0] ?? '') : String(cause);
    throw new RestageError('rule_invalid', `the expression cannot be read: ${reason}`, { where: place.where, cause });
  }
  throw new RestageError('bug', 'the parser of expressions gives no syntax', { where: place.where });
}

/** A column and nothing else passes as its text: also of a type that has no meaning here. null for anything more. */
function plainColumn(
  syntax: Syntax,
  columns: readonly ColumnStructure[],
  type: ValueType,
  place: Place,
): Evaluation | null {
  const column = syntax.op === 'id' ? columns.find(({ name }) => name === syntax.args) : undefined;
  if (column === undefined) return null;
  const cast = compileCast(column, type, place.where);
  const node = new ColumnScope(place, [{ ...column, typeSchema: '' }], new Map()).column(column.name);
  return (image, context) => cast(node.run({ image, context, locals: [] }) as string | null);
}

function computed(node: Node, type: ValueType, place: Place): Evaluation {
  const write = makeWriter(node.type, type, place.where);
  return (image, context) => {
    const value = node.run({ image, context, locals: [] });
    return value === null ? null : write(value);
  };
}

function withContext(evaluate: Evaluation): Expression['evaluate'] {
  return (image, context = {}) => evaluate(image, context);
}
