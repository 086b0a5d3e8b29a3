import { stat } from 'node:fs/promises';
import { SourceMap, isBuiltin } from 'node:module';
import path from 'node:path';
import type { Message, Plugin } from 'esbuild';
import { RestageError } from '#core/errors.ts';

/** A place in the script: line and column, from 1. */
export type Frame = readonly [number, number];

/** A module and all it imports as one script for the module's process. */
export interface ModuleBundle {
  readonly code: string;
  /** The module's own part of it, the same wherever it lies and whatever runs it. */
  readonly own: string;
  /** The place in the module's own files of the first of some in the script that is of them; '' for none. */
  readonly placeOf: (frames: readonly Frame[]) => string;
}

const LARGEST_BYTES = 16 * 1024 * 1024;
/** This file's own ending: .ts in a checkout, .js where it was built. */
const ENDING = path.extname(import.meta.filename);
/** What imports the module: no place of it is the author's. */
const ENTRY = 'restage-entry.js';
/** `services`, or what was built of it: this file is a part of one in dist/parts then. */
const SERVICES = path.resolve(import.meta.dirname, ENDING === '.ts' ? '../..' : '../services');
const OWN_DIRECTORY = path.join(SERVICES, 'adapters/module/process', path.sep);
/** Where it was built, the build's own source maps lead back to the sources. */
const OWN_SOURCE =
  /[\\/]services[\\/](?:core[\\/]module[\\/]transform-api|adapters[\\/]module[\\/]process[\\/]\w+)\.[jt]s$/;
const OWN: Readonly<Record<string, string>> = {
  'restage/transform': path.join(SERVICES, `core/module/transform-api${ENDING}`),
  'restage:guards': path.join(OWN_DIRECTORY, `guards${ENDING}`),
  'restage:serve': path.join(OWN_DIRECTORY, `serve${ENDING}`),
};

/** @throws RestageError rule_invalid with file, line and column of what does not compile; `directory` is where its path begins. */
export async function bundleModule(shown: string, directory: string): Promise<ModuleBundle> {
  const file = path.resolve(directory, shown);
  await requireModuleFile(file, shown);
  const { build } = await import('esbuild');
  const home = path.dirname(file);
  const entry = [
    `import { serve } from 'restage:serve';`,
    `import 'restage:guards';`,
    `import transform from ${JSON.stringify(`./${path.basename(file)}`)};`,
    'serve(transform);',
  ];
  try {
    const { outputFiles } = await build({
      stdin: { contents: entry.join('\n'), resolveDir: home, sourcefile: ENTRY },
      outfile: path.join(home, 'restage-module.js'),
      write: false,
      bundle: true,
      format: 'cjs',
      platform: 'neutral',
      mainFields: ['module', 'main'],
      conditions: ['import'],
      target: 'node20',
      charset: 'utf8',
      sourcemap: 'external',
      sourcesContent: false,
      logLevel: 'silent',
      plugins: [ownImports],
      // The module's own configuration is for editors: it must not change what the code means.
      tsconfigRaw: {},
    });
    const code = outputFiles.find((one) => one.path.endsWith('.js'))?.text ?? '';
    const map = outputFiles.find((one) => one.path.endsWith('.map'))?.text ?? '';
    return { code, own: ownPart(code), placeOf: placesIn(map, home, directory) };
  } catch (cause) {
    throw notCompiled(cause, shown, directory);
  }
}

/** esbuild says above each file's part which it is of; paths differ from place to place. */
function ownPart(code: string): string {
  const parts = code.split(/^(?=\/\/ \S+$)/m);
  const isOwn = (part: string): boolean => {
    const file = /^\/\/ (\S+)$/m.exec(part)?.[1] ?? ENTRY;
    return !file.endsWith(ENTRY) && !OWN_SOURCE.test(`/${file}`);
  };
  return parts
    .filter(isOwn)
    .map((part) => part.replace(/^.*\n/, ''))
    .join('');
}

async function requireModuleFile(file: string, shown: string): Promise<void> {
  const found = await stat(file).catch(() => null);
  const what =
    found === null
      ? 'there is no such file'
      : !found.isFile()
        ? 'it is no regular file'
        : found.size > LARGEST_BYTES
          ? 'it is larger than 16 MiB'
          : /\.(ts|mts|js|mjs)$/.test(file)
            ? null
            : 'its name ends in none of .ts, .mts, .js and .mjs';
  if (what === null) return;
  throw new RestageError('rule_invalid', `the module cannot be read: ${what}`, {
    where: shown,
    fix: 'transform.outputs[].module is a path from the directory of the configuration',
  });
}

/** Node's own modules read clocks, files and networks: only what runs the module has them. */
const ownImports: Plugin = {
  name: 'restage',
  setup(build) {
    build.onResolve({ filter: /.*/ }, ({ path: name, importer }) => {
      const own = OWN[name];
      if (own !== undefined) return { path: own };
      if (!isBuiltin(name)) return undefined;
      if (importer.startsWith(OWN_DIRECTORY)) return { path: name, external: true };
      return {
        errors: [{ text: `${name} is Node's own: a module is pure, it imports files and packages of plain code` }],
      };
    });
  },
};

function placesIn(map: string, home: string, directory: string): ModuleBundle['placeOf'] {
  const places = new SourceMap(JSON.parse(map) as ConstructorParameters<typeof SourceMap>[0]);
  return (frames) => {
    for (const [line, column] of frames) {
      const entry = places.findEntry(line - 1, column - 1);
      if (!('originalSource' in entry)) continue;
      const file = path.resolve(home, entry.originalSource);
      if (entry.originalSource.endsWith(ENTRY) || OWN_SOURCE.test(file)) continue;
      return `${path.relative(directory, file)}:${entry.originalLine + 1}:${entry.originalColumn + 1}`;
    }
    return '';
  };
}

function notCompiled(cause: unknown, shown: string, directory: string): unknown {
  const [first, ...others] = messagesOf(cause);
  if (first === undefined) return cause;
  const more = others.length === 0 ? '' : `, and ${others.length} more`;
  const { location } = first;
  const place =
    location === null || location.file.endsWith(ENTRY)
      ? shown
      : `${path.relative(directory, path.resolve(location.file))}:${location.line}:${location.column + 1}`;
  return new RestageError('rule_invalid', `the module does not compile: ${first.text}${more}`, {
    where: place,
    fix: 'correct it; tsc says more of types',
  });
}

function messagesOf(cause: unknown): Message[] {
  return cause instanceof Error && 'errors' in cause && Array.isArray(cause.errors) ? (cause.errors as Message[]) : [];
}
