/**
 * Takes from a module what would make the same history give another result: clocks, randomness, time zones, languages, and what waits.
 * Trusted code could get around it; this is for mistakes.
 */
const global = globalThis as unknown as Record<string, unknown>;

function refused(what: string, instead: string): () => never {
  return () => {
    throw new ReferenceError(`${what} is not there in a module: ${instead}`);
  };
}

const NO_CLOCK = 'a change has its time; the same history must give the same result';
const NO_WAITING = 'functions are pure and give their changes at once';
const NO_LANGUAGE = 'it depends on where it runs';

function withhold(name: string, value: unknown): void {
  Object.defineProperty(global, name, { value, configurable: true, writable: true, enumerable: false });
}

/** Any use throws, but naming it does not: packages look at what there is when they are loaded. */
function withheldObject(name: string, instead: string): object {
  return new Proxy({}, { get: (_target, key) => refused(`${name}.${String(key)}`, instead)() });
}

const noDate = refused('Date', NO_CLOCK);
withhold(
  'Date',
  Object.assign(
    function Date() {
      noDate();
    },
    { now: noDate, parse: noDate, UTC: noDate },
  ),
);
Math.random = refused('Math.random', NO_CLOCK);
withhold('performance', withheldObject('performance', NO_CLOCK));
withhold('crypto', withheldObject('crypto', NO_CLOCK));
withhold('Intl', withheldObject('Intl', NO_LANGUAGE));
for (const name of ['setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask', 'fetch'])
  withhold(name, refused(name, NO_WAITING));
for (const name of ['process', 'require', 'module', 'WeakRef', 'FinalizationRegistry', 'WebSocket', 'EventSource'])
  withhold(name, undefined);
for (const { prototype, methods } of [
  { prototype: String.prototype, methods: ['localeCompare', 'toLocaleLowerCase', 'toLocaleUpperCase'] },
  { prototype: Number.prototype, methods: ['toLocaleString'] },
  { prototype: BigInt.prototype, methods: ['toLocaleString'] },
  { prototype: Array.prototype, methods: ['toLocaleString'] },
])
  for (const method of methods)
    Object.defineProperty(prototype, method, { value: refused(method, NO_LANGUAGE), configurable: true });
