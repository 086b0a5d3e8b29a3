import { nearest } from '#core/nearest.ts';
import { coerce } from '#core/rules/values/expression-coercion.ts';
import { constant, typeName, type Node, type Value } from '#core/rules/values/expression-node.ts';
import type { ExpressionKind } from '#core/rules/values/expression-types.ts';
import { NUMBER_FUNCTIONS } from '#core/rules/values/functions-number.ts';
import { TEXT_FUNCTIONS } from '#core/rules/values/functions-text.ts';
import { TIME_FUNCTIONS } from '#core/rules/values/functions-time.ts';
import type { FunctionDefinition, Parameter } from '#core/rules/values/functions.ts';
import { MACROS } from '#core/rules/values/macros.ts';
import { RuleFailure } from '#core/rules/values/rule-failure.ts';
import { SPECIAL_FORMS, strict, type Call } from '#core/rules/values/special-forms.ts';

const FUNCTIONS: readonly FunctionDefinition[] = [...TEXT_FUNCTIONS, ...NUMBER_FUNCTIONS, ...TIME_FUNCTIONS];

/** A call whose arguments are compiled; `x.f(y)` is `f(x, y)`. @throws RestageError rule_invalid. */
export function compileCall(call: Call): Node {
  const special = SPECIAL_FORMS.get(call.name)?.(call) ?? null;
  return fold(special ?? callFunction(call), call);
}

function callFunction(call: Call): Node {
  const named = FUNCTIONS.filter(({ name }) => name === call.name);
  if (named.length === 0) throw unknownFunction(call);
  // What fits as it is goes before what fits when its arguments are widened.
  for (const mayWiden of [false, true]) {
    for (const definition of named) {
      const args = fitArguments(definition.parameters, call.args, mayWiden);
      if (args !== null) return callNode(definition, args);
    }
  }
  const given = call.args.map((arg) => typeName(arg.type)).join(', ');
  const known = named.map(({ parameters }) => `${call.name}(${parameters.map(shown).join(', ')})`).join(', ');
  throw call.fail(`no such call: ${call.name}(${given})`, `there is ${known}`);
}

function callNode({ result, element, run }: FunctionDefinition, args: readonly Node[]): Node {
  const type = element === undefined ? { kind: result } : { kind: result, element: { kind: element } };
  return strict(type, args, (values) => run(...(values as readonly Value[])));
}

function fitArguments(parameters: readonly Parameter[], args: readonly Node[], mayWiden: boolean): Node[] | null {
  if (args.length !== parameters.length) return null;
  const fitted: Node[] = [];
  for (const [index, arg] of args.entries()) {
    const parameter = parameters[index] ?? [];
    const kinds: readonly ExpressionKind[] = typeof parameter === 'string' ? [parameter] : parameter;
    const fit = kinds.includes(arg.type.kind) ? arg : mayWiden ? widen(arg, kinds) : null;
    if (fit === null) return null;
    fitted.push(fit);
  }
  return fitted;
}

function widen(arg: Node, kinds: readonly ExpressionKind[]): Node | null {
  for (const kind of kinds) {
    // JSON never widens into an argument by itself: its kind is the row's.
    const widened = kind !== 'json' ? coerce(arg, kind) : null;
    if (widened !== null) return widened;
  }
  return null;
}

/** What reads nothing of the row is computed now, and told now. */
function fold(node: Node, call: Call): Node {
  if (node.isConstant !== true) return node;
  try {
    return constant(node.type, node.run({ image: new Map(), context: {}, locals: [] }));
  } catch (error) {
    if (error instanceof RuleFailure) throw call.fail(error.message);
    throw error;
  }
}

function unknownFunction(call: Call): Error {
  const names = [
    ...new Set([...FUNCTIONS.map(({ name }) => name), ...SPECIAL_FORMS.keys(), ...MACROS, 'has', 'column']),
  ];
  const near = nearest(call.name, names);
  return call.fail(`function ${call.name} is not known`, near === null ? undefined : `did you mean ${near}?`);
}

function shown(parameter: Parameter): string {
  return typeof parameter === 'string' ? parameter : parameter.join(' or ');
}
