import * as z from 'zod';
import { buildOptionTree, type OptionNode } from '#core/option-tree.ts';

type Json = { readonly [key: string]: unknown };

/** Any string option may be taken from the environment, so `${…}` passes wherever a value is asked for. */
const FROM_ENVIRONMENT: Json = { type: 'string', pattern: String.raw`\$\{` };

/** The configuration's JSON Schema (draft 2020-12), for editors; the parser is stricter about what belongs together. */
export function makeConfigSchema(): Json {
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Restage configuration',
    ...nodeSchema(buildOptionTree()),
  };
}

function nodeSchema(node: OptionNode): Json {
  switch (node.kind) {
    case 'object': {
      const required = [...node.keys].filter(([, child]) => isRequired(child)).map(([key]) => key);
      const properties = Object.fromEntries([...node.keys].map(([key, child]) => [key, nodeSchema(child)]));
      return {
        type: 'object',
        properties,
        ...(required.length === 0 ? {} : { required }),
        additionalProperties: false,
      };
    }
    case 'list':
      return { type: 'array', items: nodeSchema(node.item) };
    case 'map':
      return {
        type: 'object',
        ...(node.item.kind === 'leaf'
          ? { description: node.item.option.about, additionalProperties: leafSchema(node.item.option.type) }
          : { additionalProperties: nodeSchema(node.item) }),
      };
    case 'leaf': {
      const { about, default: value } = node.option;
      return {
        description: about,
        ...leafSchema(node.option.type),
        ...(value === undefined || value === null ? {} : { default: value }),
      };
    }
  }
}

function leafSchema(type: z.ZodType): Json {
  if (type instanceof z.ZodArray) {
    return { ...bare(type), items: leafSchema(type.element as z.ZodType) };
  }
  const schema = bare(type);
  const isFreeText = schema['type'] === 'string' && schema['pattern'] === undefined && schema['enum'] === undefined;
  return isFreeText ? schema : { anyOf: [schema, FROM_ENVIRONMENT] };
}

function bare(type: z.ZodType): Json {
  const { $schema: _, ...schema } = z.toJSONSchema(type, { io: 'input' });
  return schema;
}

/** An object is required when something in it is. With the environment's help it may still be left out of the file. */
function isRequired(node: OptionNode): boolean {
  if (node.kind === 'list' || node.kind === 'map') return false;
  if (node.kind === 'leaf') return node.option.default === undefined && node.option.env === null;
  return node.kind === 'object' && [...node.keys.values()].some(isRequired);
}
