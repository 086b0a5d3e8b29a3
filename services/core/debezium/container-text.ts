/** One element of an array's text. */
type Element = string | null;

/**
 * The elements of a one-dimensional array (PostgreSQL: "Array Input and Output Syntax"); bounds are dropped.
 * null where there are more dimensions.
 */
export function parseArray(text: string): Element[] | null {
  const from = text.startsWith('[') ? text.indexOf('=') + 1 : 0;
  if (text.charAt(from) !== '{') return null;
  const elements: Element[] = [];
  let at = from + 1;
  if (text.charAt(at) === '}') return elements;
  for (;;) {
    if (text.charAt(at) === '{') return null;
    if (text.charAt(at) === '"') {
      const { value, next } = quotedAt(text, at);
      elements.push(value);
      at = next;
    } else {
      let end = at;
      while (end < text.length && !',}'.includes(text.charAt(end))) end += text.charAt(end) === '\\' ? 2 : 1;
      const raw = text.slice(at, end);
      elements.push(raw.toUpperCase() === 'NULL' ? null : raw.replaceAll(/\\(.)/gs, '$1'));
      at = end;
    }
    if (text.charAt(at) !== ',') return elements;
    at += 1;
  }
}

/** hstore's text: `"a"=>"1", "b c"=>NULL`, in its order. */
export function parseHstore(text: string): ReadonlyMap<string, string | null> {
  const pairs = new Map<string, string | null>();
  let at = 0;
  while (at < text.length) {
    const key = quotedAt(text, at);
    at = key.next + '=>'.length;
    if (text.charAt(at) === '"') {
      const { value, next } = quotedAt(text, at);
      pairs.set(key.value, value);
      at = next;
    } else {
      pairs.set(key.value, null);
      at += 'NULL'.length;
    }
    at += ', '.length;
  }
  return pairs;
}

function quotedAt(text: string, at: number): { readonly value: string; readonly next: number } {
  let value = '';
  let index = at + 1;
  while (index < text.length && text.charAt(index) !== '"') {
    if (text.charAt(index) === '\\') index += 1;
    value += text.charAt(index);
    index += 1;
  }
  return { value, next: index + 1 };
}
