import * as z from 'zod';
import { manifestSchema } from '#core/manifest.ts';

/** The JSON Schema of a manifest, as schemas/manifest.schema.json holds it. */
export function makeManifestSchema(): object {
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Restage manifest',
    description: 'One record on an .epochs topic: names the records of one epoch, or of one part of it.',
    ...z.toJSONSchema(manifestSchema),
  };
}
