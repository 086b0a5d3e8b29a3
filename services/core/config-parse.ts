import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  parse as parseYaml,
  type Document,
  type Node,
  type YAMLError,
  type ParsedNode,
  type YAMLMap,
} from 'yaml';
import * as z from 'zod';
import { expandVariables, type Environment } from '#core/config-expand.ts';
import { nearest } from '#core/nearest.ts';
import { REQUIRED_LISTS, type Option } from '#core/option-table.ts';
import { buildOptionTree, type ObjectNode, type OptionNode } from '#core/option-tree.ts';

/** What the file and the environment say, by concrete path (`targets[0].name`): checked one by one, defaults not yet in. */
export interface ParsedConfig {
  readonly values: ReadonlyMap<string, unknown>;
  /** Lists' lengths, by concrete path (`targets[]`). */
  readonly counts: ReadonlyMap<string, number>;
  /** The keys of maps whose entries have options of their own, by concrete path (`….mask.*`). */
  readonly keys: ReadonlyMap<string, readonly string[]>;
  /** `file:line:column`, by concrete path. */
  readonly places: ReadonlyMap<string, string>;
  readonly problems: string[];
}

const MOST_ALIASES = 100;
const SOURCE_URL = 'source.postgres.url';

/** Reads the whole file, however much is wrong with it. */
export function parseConfig(text: string, file: string, env: Environment): ParsedConfig {
  const lines = new LineCounter();
  const document = parseDocument(text, { schema: 'core', version: '1.2', lineCounter: lines, prettyErrors: false });
  const walker = new Walker(document, file, lines, env);
  const faults = [...document.errors, ...document.warnings];
  const bare = faults.find(({ pos: [at] }) => text.slice(at - 1, at + 1) === '${');
  // What follows a bare one is its consequence.
  if (bare === undefined) for (const fault of faults) walker.report(fault.pos[0], describeFault(fault));
  else walker.report(bare.pos[0] - 1, 'between { } or [ ] a value with ${VAR} stands in quotes: "${VAR}"');
  const root = buildOptionTree();
  if (document.errors.length === 0) {
    walker.object(root, document.contents, '');
    walker.environment(root);
    walker.absent(root, '');
  }
  return walker;
}

class Walker implements ParsedConfig {
  readonly values = new Map<string, unknown>();
  readonly counts = new Map<string, number>();
  readonly keys = new Map<string, readonly string[]>();
  readonly places = new Map<string, string>();
  readonly problems: string[] = [];
  readonly #document: Document.Parsed;
  readonly #file: string;
  readonly #lines: LineCounter;
  readonly #env: Environment;
  #aliases = 0;

  constructor(document: Document.Parsed, file: string, lines: LineCounter, env: Environment) {
    this.#document = document;
    this.#file = file;
    this.#lines = lines;
    this.#env = env;
  }

  report(offset: number, what: string): void {
    this.problems.push(`${this.#place(offset)}: ${what}`);
  }

  object(node: ObjectNode, found: Node | null, path: string): void {
    const map = this.#resolve(found);
    if (map === null || (isScalar(map) && map.value === null)) return;
    this.places.set(path, this.#place(offsetOf(map)));
    if (!isMap(map)) {
      this.report(offsetOf(map), `${path === '' ? 'the file' : path} must hold keys and values`);
      return;
    }
    for (const { name, at, value } of this.#pairs(map)) {
      const child = node.keys.get(name);
      if (child === undefined) this.#unknownKey(name, at, path, [...node.keys.keys()]);
      else this.#node(child, value, path === '' ? name : `${path}.${name}`, at);
    }
  }

  /** Options that the environment sets take the place of the file's. */
  environment(node: OptionNode): void {
    if (node.kind === 'object') for (const child of node.keys.values()) this.environment(child);
    if (node.kind !== 'leaf' || node.option.env === null) return;
    const given = this.#env[node.option.env];
    if (given === undefined || given === '') return;
    this.places.set(node.path, node.option.env);
    const isList = node.option.type instanceof z.ZodArray;
    const wanted = isList
      ? given
          .split(',')
          .map((part) => part.trim())
          .filter((part) => part !== '')
      : given;
    this.#check(node.option, node.path, wanted, true, () => node.option.env ?? '');
  }

  /** Required options that neither file nor environment gave. */
  absent(node: OptionNode, path: string): void {
    if (node.kind === 'object') {
      for (const [key, child] of node.keys) this.absent(child, path === '' ? key : `${path}.${key}`);
    } else if (node.kind === 'list') {
      const count = this.counts.get(`${path}[]`) ?? 0;
      if (count === 0 && REQUIRED_LISTS.has(node.path) && !this.#hasOtherReaders())
        this.#missing(path, 'at least one entry is needed');
      for (let index = 0; index < count; index += 1) this.absent(node.item, `${path}[${index}]`);
    } else if (node.kind === 'map' && node.item.kind !== 'leaf') {
      for (const key of this.keys.get(`${path}.*`) ?? []) this.absent(node.item, `${path}.${key}`);
    } else if (node.kind === 'leaf' && node.option.default === undefined && !this.places.has(path)) {
      if (path === SOURCE_URL && this.#hasOtherWriter()) return;
      this.#missing(path, `for example: ${node.option.example}`);
    }
  }

  /** Topics of profile `debezium` are for Debezium's consumers: then a pipeline may have no target. */
  #hasOtherReaders(): boolean {
    return [...this.values].some(([path, value]) => path.endsWith('.profile') && value === 'debezium');
  }

  /** Debezium reads the source then. */
  #hasOtherWriter(): boolean {
    return this.places.has('source.debezium') || this.places.has('source.debezium.topics');
  }

  #missing(path: string, hint: string): void {
    const dot = path.lastIndexOf('.');
    const place = this.places.get(dot < 0 ? '' : path.slice(0, dot)) ?? this.places.get('') ?? this.#file;
    this.problems.push(`${place}: ${path} is required (${hint})`);
  }

  #node(node: OptionNode, found: Node | null, path: string, keyAt: number): void {
    if (node.kind === 'object') {
      this.object(node, found, path);
      return;
    }
    const value = this.#resolve(found);
    const at = value === null ? keyAt : offsetOf(value);
    this.places.set(path, this.#place(at));
    if (value === null || (isScalar(value) && value.value === null)) {
      this.report(at, `${path} has no value; give one or leave the key out`);
    } else if (node.kind === 'list') {
      this.#list(node.item, value, path);
    } else if (node.kind === 'map') {
      this.#map(node.item, value, path);
    } else {
      this.#leaf(node.option, value, path);
    }
  }

  #list(item: OptionNode, value: Node, path: string): void {
    if (!isSeq(value)) {
      this.report(offsetOf(value), `${path} must be a list`);
      return;
    }
    this.counts.set(`${path}[]`, value.items.length);
    for (const [index, entry] of value.items.entries())
      this.#node(item, entry as Node, `${path}[${index}]`, offsetOf(value));
  }

  #map(item: OptionNode, value: Node, path: string): void {
    if (!isMap(value)) {
      this.report(offsetOf(value), `${path} must hold keys and values`);
      return;
    }
    if (item.kind === 'leaf') this.#values(item.option, value, path);
    else {
      const pairs = [...this.#pairs(value)];
      this.keys.set(
        `${path}.*`,
        pairs.map(({ name }) => name),
      );
      for (const { name, at, value: found } of pairs) this.#node(item, found, `${path}.${name}`, at);
    }
  }

  #values(option: Option, value: YAMLMap, path: string): void {
    const entries = new Map<string, unknown>();
    for (const pair of this.#pairs(value)) {
      const name = `${path}.${pair.name}`;
      this.#leaf(option, pair.value ?? value, name);
      entries.set(pair.name, this.values.get(name));
    }
    this.values.set(`${path}.*`, entries);
  }

  #leaf(option: Option, value: Node, path: string): void {
    const before = this.problems.length;
    const read = this.#plain(value);
    if (this.problems.length > before) return;
    this.#check(option, path, read.value, read.isExpanded, (issuePath) =>
      this.#place(offsetOf(nodeAt(value, issuePath))),
    );
  }

  /** An expanded string may stand for a number or a boolean: `${PORT:-8080}`. */
  #check(
    option: Option,
    path: string,
    value: unknown,
    isExpanded: boolean,
    place: (path: readonly PropertyKey[]) => string,
  ): void {
    let parsed = option.type.safeParse(value);
    if (!parsed.success && isExpanded && typeof value === 'string' && /^(true|false|\d+)$/.test(value)) {
      parsed = option.type.safeParse(parseYaml(value, { schema: 'core' }));
    }
    if (parsed.success) this.values.set(path, parsed.data);
    else
      for (const issue of parsed.error.issues) this.problems.push(`${place(issue.path)}: ${path}: ${issueText(issue)}`);
  }

  /** A node's value with variables expanded in its strings. Keys are never expanded. */
  #plain(found: Node): { readonly value: unknown; readonly isExpanded: boolean } {
    const node = this.#resolve(found);
    if (isSeq(node)) {
      const items = node.items.map((item) => this.#plain(item as Node));
      return { value: items.map((item) => item.value), isExpanded: items.some((item) => item.isExpanded) };
    }
    if (!isScalar(node)) return { value: {}, isExpanded: false };
    if (typeof node.value !== 'string') return { value: node.value, isExpanded: false };
    const expansion = expandVariables(node.value, this.#env);
    for (const problem of expansion.problems) this.report(offsetOf(node), problem);
    return { value: expansion.text, isExpanded: expansion.isExpanded };
  }

  /** Follows an alias; past the limit it is null, so that no file can make the walk long. */
  #resolve(node: Node | null): Node | null {
    if (!isAlias(node)) return node;
    this.#aliases += 1;
    if (this.#aliases > MOST_ALIASES) {
      if (this.#aliases === MOST_ALIASES + 1) this.report(offsetOf(node), `more than ${MOST_ALIASES} aliases`);
      return null;
    }
    return node.resolve(this.#document) ?? null;
  }

  *#pairs(map: YAMLMap): Iterable<{ readonly name: string; readonly at: number; readonly value: Node | null }> {
    for (const pair of map.items) {
      const key = this.#resolve(pair.key as ParsedNode);
      const at = key === null ? offsetOf(map) : offsetOf(key);
      if (isScalar(key)) yield { name: String(key.value), at, value: pair.value as ParsedNode | null };
      else this.report(at, 'a key must be a plain word');
    }
  }

  #unknownKey(name: string, at: number, path: string, known: readonly string[]): void {
    const colon = name.indexOf(':');
    if (colon >= 0) {
      // What follows may be a value, even a password (invariant 8).
      this.report(at, `"${name.slice(0, colon)}:" needs a space after the colon`);
      return;
    }
    const close = nearest(name, known);
    const hint = close === null ? `known here: ${known.join(', ')}` : `did you mean "${close}"?`;
    this.report(at, `unknown key "${name}"${path === '' ? '' : ` in ${path}`}; ${hint}`);
  }

  #place(offset: number): string {
    const { line, col } = this.#lines.linePos(offset);
    return `${this.#file}:${Math.max(line, 1)}:${Math.max(col, 1)}`;
  }
}

/** A message of the YAML parser without the piece of the file that some of them end with (invariant 8). */
function describeFault({ code, message }: YAMLError): string {
  if (code === 'MULTIPLE_DOCS') return 'the file holds a second document (after ---); one is read';
  return message.replace(/(?<=\w): \S.*$/s, '');
}

function offsetOf(node: Node): number {
  return node.range?.[0] ?? 0;
}

function nodeAt(node: Node, path: readonly PropertyKey[]): Node {
  const [index] = path;
  const item = isSeq(node) && typeof index === 'number' ? node.items[index] : undefined;
  return item === undefined ? node : (item as Node);
}

function issueText(issue: z.core.$ZodIssue): string {
  return issue.message.replace(/^Invalid input: /, '');
}
