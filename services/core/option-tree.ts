import { OPTIONS, type Option } from '#core/option-table.ts';

/** The option table as a tree: what may stand where in the file. */
export type OptionNode =
  | { readonly kind: 'object'; readonly path: string; readonly keys: Map<string, OptionNode> }
  | { readonly kind: 'list'; readonly path: string; readonly item: OptionNode }
  /** Keys that the user chooses, each with a value or with options of its own. */
  | { readonly kind: 'map'; readonly path: string; readonly item: OptionNode }
  | { readonly kind: 'leaf'; readonly path: string; readonly option: Option };

export type ObjectNode = Extract<OptionNode, { kind: 'object' }>;

/** Paths of lists end in `[]`, of maps in `*`, as in the table. */
export function buildOptionTree(options: readonly Option[] = OPTIONS): ObjectNode {
  const root: ObjectNode = { kind: 'object', path: '', keys: new Map() };
  for (const option of options) insert(root, segmentsOf(option.path), option);
  return root;
}

/** Keys under `debezium` and `outbox` are Debezium's own option names, dots and all. */
function segmentsOf(path: string): readonly string[] {
  const segments = path.split('.');
  const at = segments.findIndex((segment) => segment === 'debezium' || segment === 'outbox');
  if (at < 0 || segments.at(-1) === '*') return segments;
  return [...segments.slice(0, at + 1), segments.slice(at + 1).join('.')];
}

function insert(parent: ObjectNode, segments: readonly string[], option: Option): void {
  const [segment = '', ...rest] = segments;
  const isList = segment.endsWith('[]');
  const key = isList ? segment.slice(0, -2) : segment;
  const path = parent.path === '' ? segment : `${parent.path}.${segment}`;
  if (rest.length === 0) {
    parent.keys.set(key, { kind: 'leaf', path, option });
    return;
  }
  if (rest[0] === '*') {
    insertMap(parent, key, `${path}.*`, rest.slice(1), option);
    return;
  }
  let node = parent.keys.get(key);
  if (node === undefined) {
    const item: ObjectNode = { kind: 'object', path, keys: new Map() };
    node = isList ? { kind: 'list', path, item } : item;
    parent.keys.set(key, node);
  }
  const next = node.kind === 'list' ? node.item : node;
  if (next.kind === 'object') insert(next, rest, option);
}

function insertMap(parent: ObjectNode, key: string, path: string, rest: readonly string[], option: Option): void {
  if (rest.length === 0) {
    parent.keys.set(key, { kind: 'map', path, item: { kind: 'leaf', path, option } });
    return;
  }
  const known = parent.keys.get(key);
  const item: OptionNode =
    known?.kind === 'map' ? known.item : { kind: 'object', path, keys: new Map<string, OptionNode>() };
  parent.keys.set(key, { kind: 'map', path, item });
  if (item.kind === 'object') insert(item, rest, option);
}
