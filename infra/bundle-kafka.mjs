// Of the Kafka client only what is used, in one file: its index loads everything, and compiles the options of clients that nobody opens,
// for half a second at the start of every process.
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { build } from 'esbuild';

const root = path.resolve(import.meta.dirname, '..');
const CLIENT = '@platformatic/kafka';

/** What nobody imports from the client's index may go, whatever it does when it is loaded. */
const onlyWhatIsUsed = {
  name: 'only-what-is-used',
  setup(builder) {
    builder.onResolve({ filter: /.*/ }, async ({ path: wanted, kind, resolveDir, importer, pluginData }) => {
      // debug asks for it in a try, and goes without.
      if (wanted === 'supports-color') return { path: wanted, external: true };
      if (pluginData === 'resolving') return undefined;
      const found = await builder.resolve(wanted, { kind, resolveDir, importer, pluginData: 'resolving' });
      return found.external ? found : { path: found.path, sideEffects: false };
    });
  },
};

await build({
  stdin: { contents: `export { ${[...(await findNames())].join(', ')} } from '${CLIENT}';`, resolveDir: root },
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  outfile: path.join(root, 'dist/vendor/kafka.js'),
  plugins: [onlyWhatIsUsed],
  banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
  logLevel: 'warning',
});

/** The values that the adapters import. */
async function findNames() {
  const folder = path.join(root, 'services/adapters/kafka');
  const names = new Set();
  for (const file of await readdir(folder)) {
    const text = await readFile(path.join(folder, file), 'utf8');
    for (const [, list = ''] of text.matchAll(/import \{([^}]*)\} from '#kafka'/g))
      for (const name of list.split(',').map((one) => one.trim()))
        if (name !== '' && !name.startsWith('type ')) names.add(name);
  }
  return names;
}
