import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { makeFixtureSchema } from '#core/fixtures/fixture.ts';
import { makeManifestSchema } from '#core/manifest-schema.ts';
import { makeConfigReference } from '#core/option-reference.ts';
import { makeConfigSchema } from '#core/option-schema.ts';

/** Writes every file that is made from code. A test holds the committed files to what this writes. */
const root = path.resolve(import.meta.dirname, '..');
const files: Readonly<Record<string, string>> = {
  'schemas/config.schema.json': `${JSON.stringify(makeConfigSchema(), null, 2)}\n`,
  'schemas/fixture.schema.json': `${JSON.stringify(makeFixtureSchema(), null, 2)}\n`,
  'schemas/manifest.schema.json': `${JSON.stringify(makeManifestSchema(), null, 2)}\n`,
  'docs/configuration.md': makeConfigReference(),
};

for (const [name, content] of Object.entries(files)) {
  mkdirSync(path.dirname(path.join(root, name)), { recursive: true });
  writeFileSync(path.join(root, name), content);
}
