import type { Json } from '#core/debezium-source/exact-json.ts';
import { compileCall } from '#core/rules/values/expression-calls.ts';
import { coerce, jsonOf } from '#core/rules/values/expression-coercion.ts';
import { NULL_NODE, type ColumnScope } from '#core/rules/values/expression-columns.ts';
import { compileAnd, compileIn, compileNot, compileOr, compileTernary } from '#core/rules/values/expression-logic.ts';
import {
  constant,
  isSyntax,
  typeName,
  unfit,
  type Cell,
  type Node,
  type StaticType,
  type Syntax,
} from '#core/rules/values/expression-node.ts';
import {
  compileArithmetic,
  compileComparison,
  negate,
  type Arithmetic,
  type Comparison,
} from '#core/rules/values/expression-operators.ts';
import { isList } from '#core/rules/values/json-text.ts';
import { compileMacro, MACROS } from '#core/rules/values/macros.ts';
import { RuleFailure } from '#core/rules/values/rule-failure.ts';
import { strict, unify } from '#core/rules/values/special-forms.ts';

const MOST_INT = 2n ** 63n;

/** Turns syntax into nodes, checking kinds and columns on the way. */
export class Compiler {
  readonly #scope: ColumnScope;
  readonly #locals: Map<string, { readonly index: number; readonly type: StaticType }> = new Map();
  #localCount = 0;

  constructor(scope: ColumnScope) {
    this.#scope = scope;
  }

  /** @throws RestageError rule_invalid. */
  compile(syntax: Syntax): Node {
    try {
      return this.#compile(syntax);
    } catch (error) {
      // A literal that cannot be read as what it stands beside.
      if (error instanceof RuleFailure) throw this.#fail(syntax, error.message);
      throw error;
    }
  }

  #compile(syntax: Syntax): Node {
    const { op } = syntax;
    const args = listOf(syntax.args);
    switch (op) {
      case 'value':
        return this.#literal(syntax);
      case 'id':
        return this.#name(syntax, String(syntax.args));
      case '.':
        return this.#field(syntax, args);
      case '[]':
        return this.#index(syntax, args);
      case 'call':
      case 'rcall':
        return this.#call(syntax, args);
      case 'list':
        return this.#list(syntax, args);
      case 'map':
        return this.#object(args);
      case '?:':
      case '||':
      case '&&':
        return this.#logic(syntax, args);
      case '!_':
        return compileNot(this.#bool(syntax.args));
      case '-_':
        return this.#minus(syntax);
      default:
        return this.#operation(syntax, args);
    }
  }

  #literal(syntax: Syntax): Node {
    const value = syntax.args;
    const text = this.#textOf(syntax);
    if (value === null) return NULL_NODE;
    if (typeof value === 'boolean') return constant({ kind: 'bool' }, value);
    if (typeof value === 'string') return constant({ kind: 'string' }, value, value);
    if (typeof value === 'number') return constant({ kind: 'double' }, value, text);
    if (value instanceof Uint8Array) return constant({ kind: 'bytes' }, value);
    if (typeof value !== 'bigint') throw this.#fail(syntax, 'unsigned numbers are not known', 'leave the u out');
    if (value >= MOST_INT) throw this.#fail(syntax, 'a number is larger than int8 holds', 'write decimal("…")');
    return constant({ kind: 'int' }, value, String(value));
  }

  #minus(syntax: Syntax): Node {
    const of = syntax.args as Syntax;
    if (of.op === 'value' && typeof of.args === 'bigint' && of.args === MOST_INT)
      return constant({ kind: 'int' }, -MOST_INT, String(-MOST_INT));
    const node = this.#compile(of);
    const negated = negate(node);
    if (negated === null) throw this.#fail(syntax, `no such operation: -${typeName(node.type)}`);
    if (node.type.kind !== 'int' || node.literal === undefined) return negated;
    return constant({ kind: 'int' }, -BigInt(node.literal), `-${node.literal}`);
  }

  #name(syntax: Syntax, name: string): Node {
    const local = this.#locals.get(name);
    if (local !== undefined) return { type: local.type, run: (row) => row.locals[local.index] ?? null };
    if (this.#scope.hasRow(name)) throw this.#fail(syntax, `${name} is a row`, `name one of its columns: ${name}.…`);
    return this.#scope.column(name);
  }

  #field(syntax: Syntax, [left, name]: readonly unknown[]): Node {
    const of = left as Syntax;
    const field = String(name);
    if (of.op === 'id' && !this.#locals.has(String(of.args))) {
      const owner = String(of.args);
      if (this.#scope.hasRow(owner)) return this.#scope.columnOf(owner, field);
      if (owner === 'event' && !this.#scope.hasColumn(owner)) {
        if (field === 'time') return this.#scope.eventTime();
        throw this.#fail(syntax, `event has no ${field}`, 'there is event.time');
      }
    }
    const node = this.#compile(of);
    if (node.type.kind !== 'json')
      throw this.#fail(
        syntax,
        `a ${typeName(node.type)} has no fields`,
        node.type.kind === 'string' ? `write json(${this.#textOf(of)}).${field}` : undefined,
      );
    return strict({ kind: 'json' }, [node], ([value]) => fieldOf(value as Json, field));
  }

  #index(syntax: Syntax, [left, right]: readonly unknown[]): Node {
    const [of, at] = [this.#compile(left as Syntax), this.#compile(right as Syntax)];
    if (of.type.kind === 'list' && at.type.kind === 'int')
      return strict(of.type.element ?? { kind: 'null' }, [of, at], ([list, index]) =>
        itemAt(list as readonly Cell[], index as bigint),
      );
    if (of.type.kind === 'json' && at.type.kind === 'int')
      return strict({ kind: 'json' }, [of, at], ([value, index]) =>
        isList(value as Json) ? itemAt(value as readonly Cell[], index as bigint) : null,
      );
    if (of.type.kind === 'json' && at.type.kind === 'string')
      return strict({ kind: 'json' }, [of, at], ([value, name]) => fieldOf(value as Json, name as string));
    throw this.#fail(syntax, `no such operation: ${typeName(of.type)}[${typeName(at.type)}]`);
  }

  #call(syntax: Syntax, args: readonly unknown[]): Node {
    const name = String(args[0]);
    const given = syntax.op === 'call' ? listOf(args[1]) : [args[1], ...listOf(args[2])];
    if (syntax.op === 'rcall' && MACROS.has(name)) return this.#macro(syntax, name, given as Syntax[]);
    const [first] = given as Syntax[];
    if (name === 'column' && given.length === 1 && first?.op === 'value' && typeof first.args === 'string')
      return this.#scope.column(first.args);
    if (name === 'has' && given.length === 1 && first?.op === '.') return this.#has(first);
    return compileCall({
      name,
      args: (given as Syntax[]).map((arg) => this.#compile(arg)),
      fail: (what, fix) => this.#fail(syntax, what, fix),
    });
  }

  #has(syntax: Syntax): Node {
    const [left, name] = listOf(syntax.args);
    const node = this.#compile(left as Syntax);
    if (node.type.kind !== 'json')
      throw this.#fail(syntax, 'has asks for a field inside JSON: has(json(column).field)');
    return strict({ kind: 'bool' }, [node], ([value]) => value instanceof Map && value.has(String(name)));
  }

  #macro(syntax: Syntax, name: string, [receiver, variable, ...bodies]: Syntax[]): Node {
    const count = name === 'map' ? [1, 2] : [1];
    if (receiver === undefined || variable?.op !== 'id' || !count.includes(bodies.length))
      throw this.#fail(syntax, `${name} takes a variable and an expression`);
    const local = String(variable.args);
    if (this.#scope.hasColumn(local) || this.#scope.hasRow(local))
      throw this.#fail(syntax, `the expression's own variable ${local} has a column's name`, 'give it another name');
    const list = this.#items(receiver, syntax);
    const index = this.#localCount;
    this.#localCount += 1;
    const outer = this.#locals.get(local);
    this.#locals.set(local, { index, type: list.type.element ?? { kind: 'null' } });
    const isMap = name === 'map';
    const transform = isMap ? this.#compile(bodies.at(-1) as Syntax) : null;
    const condition = isMap && bodies.length === 1 ? null : this.#bool(bodies[0]);
    if (outer === undefined) this.#locals.delete(local);
    else this.#locals.set(local, outer);
    return compileMacro(name, { list, local: index, condition, transform });
  }

  #items(receiver: Syntax, syntax: Syntax): Node {
    const node = this.#compile(receiver);
    if (node.type.kind === 'list') return node;
    return compileCall({ name: 'items', args: [node], fail: (what, fix) => this.#fail(syntax, what, fix) });
  }

  #list(syntax: Syntax, args: readonly unknown[]): Node {
    const nodes = (args as Syntax[]).map((arg) => this.#compile(arg));
    const unified = unify(nodes);
    if (unified === null)
      throw this.#fail(
        syntax,
        `a list has elements of one kind, not ${nodes.map((node) => typeName(node.type)).join(', ')}`,
      );
    const { nodes: elements, type } = unified;
    return { type: { kind: 'list', element: type }, run: (row) => elements.map((node) => node.run(row)) };
  }

  /** `{"a": x}`: an object of JSON. */
  #object(args: readonly unknown[]): Node {
    const fields = args.map((entry) => {
      const [key, value] = entry as readonly [Syntax, Syntax];
      const node = this.#compile(value);
      if (key.op !== 'value' || typeof key.args !== 'string')
        throw this.#fail(key, 'a field of an object has a literal name');
      if (['timestamp', 'date', 'duration', 'bytes'].includes(node.type.kind))
        throw this.#fail(value, `a ${node.type.kind} stands in JSON as a string: write string(…)`);
      return { name: key.args, node };
    });
    return {
      type: { kind: 'json' },
      run: (row) => new Map(fields.map(({ name, node }) => [name, jsonOf(node.run(row), node.type)])),
    };
  }

  #logic(syntax: Syntax, args: readonly unknown[]): Node {
    if (syntax.op === '||') return compileOr(this.#bool(args[0]), this.#bool(args[1]));
    if (syntax.op === '&&') return compileAnd(this.#bool(args[0]), this.#bool(args[1]));
    const branches = [this.#compile(args[1] as Syntax), this.#compile(args[2] as Syntax)];
    const unified = unify(branches);
    const [yes, no] = unified?.nodes ?? [];
    if (unified === null || yes === undefined || no === undefined)
      throw this.#fail(
        syntax,
        `? and : give values of one kind, not ${branches.map((node) => typeName(node.type)).join(' and ')}`,
      );
    return compileTernary(this.#bool(args[0]), yes, no, unified.type);
  }

  #operation(syntax: Syntax, [left, right]: readonly unknown[]): Node {
    if (!isSyntax(left) || !isSyntax(right)) throw this.#fail(syntax, `${syntax.op} is not known`);
    const ofNull = this.#nullQuestion(syntax.op, left, right);
    if (ofNull !== null) return ofNull;
    const [a, b] = [this.#compile(left), this.#compile(right)];
    const node = this.#binary(syntax.op, a, b);
    if (node === null)
      throw this.#fail(syntax, `no such operation: ${typeName(a.type)} ${syntax.op} ${typeName(b.type)}`);
    return node;
  }

  #binary(op: string, left: Node, right: Node): Node | null {
    switch (op) {
      case '==':
      case '!=':
      case '<':
      case '<=':
      case '>':
      case '>=':
        return compileComparison(op satisfies Comparison, left, right);
      case '+':
      case '-':
      case '*':
      case '/':
      case '%':
        return compileArithmetic(op satisfies Arithmetic, left, right);
      case 'in':
        return compileIn(left, right);
      default:
        return null;
    }
  }

  /** `x == null` asks for NULL itself, and is never unknown; of a row: whether there is one. */
  #nullQuestion(op: string, left: Syntax, right: Syntax): Node | null {
    if (op !== '==' && op !== '!=') return null;
    const isNull = (syntax: Syntax): boolean => syntax.op === 'value' && syntax.args === null;
    if (!isNull(left) && !isNull(right)) return null;
    const other = isNull(right) ? left : right;
    const isRow = other.op === 'id' && !this.#locals.has(String(other.args)) && this.#scope.hasRow(String(other.args));
    const node = isRow ? null : this.#compile(other);
    const absent = node === null ? this.#scope.isAbsent(String(other.args)) : null;
    const asked = op === '==';
    return {
      type: { kind: 'bool' },
      run: (row) => (absent === null ? node?.run(row) === null : absent.run(row) === true) === asked,
    };
  }

  #bool(syntax: unknown): Node {
    const node = this.#compile(syntax as Syntax);
    const bool = node.type.kind === 'json' ? null : coerce(node, 'bool');
    if (bool === null) throw this.#fail(syntax as Syntax, `a condition is a bool, not ${typeName(node.type)}`);
    return bool;
  }

  #textOf(syntax: Syntax): string {
    return this.#scope.place.text.slice(syntax.start, syntax.end);
  }

  #fail(syntax: Syntax, what: string, fix?: string): Error {
    return unfit(this.#scope.place, syntax, what, fix);
  }
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? (value as readonly unknown[]) : [];
}

/** NULL where there is none, as `->` has it; JSON's null is NULL. */
function fieldOf(value: Json, name: string): Cell {
  return value instanceof Map ? ((value as ReadonlyMap<string, Json>).get(name) ?? null) : null;
}

function itemAt(list: readonly Cell[], index: bigint): Cell {
  return index >= 0n && index < BigInt(list.length) ? (list[Number(index)] ?? null) : null;
}
