import * as z from 'zod';
import { OPTIONS, type Option } from '#core/option-table.ts';

const HEAD = `# Configuration

Made from \`services/core/option-table.ts\` by \`infra/generate.ts\`; change that table, not this page.

One YAML file (1.2, core schema) per pipeline, given as \`-c FILE\`. In strings, \`\${VAR}\` and \`\${VAR:-default}\` are taken
from the environment (\`$\${\` is a literal \`\${\`); a variable that is not set is an error. Unknown keys are errors that name the
nearest known one, and every problem is reported at once with its line and column. A variable from the column
"Environment" takes the place of the file's value. \`schemas/config.schema.json\` gives editors completion.

\`\`\`yaml
name: shop
kafka: { brokers: ["127.0.0.1:9092"] }
source:
  postgres: { url: "\${SOURCE_URL}" }
  tables: ["public.*", "!public.audit_*"]
transform:
  outputs:
    - name: main
      rules:
        - table: public.old_orders
          rename: public.orders
          columns: { rename: { cust: customer_id }, drop: [internal_note] }
          where: "amount >= 0"
targets:
  - name: new
    postgres: { url: "\${TARGET_URL}" }
    schema: require
\`\`\`
`;

/** The reference page, Markdown. */
export function makeConfigReference(): string {
  const groups = new Map<string, Option[]>();
  for (const option of OPTIONS) {
    const group = option.path.split('.')[0] ?? '';
    groups.set(group, [...(groups.get(group) ?? []), option]);
  }
  const sections = [...groups].map(
    ([group, options]) => `## ${group.replace('[]', '')}\n\n${options.map(describe).join('\n')}`,
  );
  return `${HEAD}\n${sections.join('\n')}`;
}

function describe(option: Option): string {
  const facts = [
    `- Type: ${typeText(option.type)}`,
    `- Default: ${defaultText(option)}`,
    `- Example: \`${option.example}\``,
    ...(option.env === null ? [] : [`- Environment: \`${option.env}\``]),
  ];
  return `### \`${option.path}\`\n\n${option.about}\n\n${facts.join('\n')}\n`;
}

function defaultText(option: Option): string {
  if (option.derived !== undefined) return option.derived;
  if (option.default === undefined) return 'none, required';
  return option.default === null ? 'none' : `\`${JSON.stringify(option.default)}\``;
}

function typeText(type: z.ZodType): string {
  const schema = z.toJSONSchema(type, { io: 'input' });
  if (schema.type === 'array') return 'list of strings';
  if (schema.enum !== undefined) return `one of ${schema.enum.map((value) => `\`${String(value)}\``).join(', ')}`;
  if (schema.type === 'integer') return `whole number, ${String(schema.minimum)} to ${String(schema.maximum)}`;
  const pattern = schema.pattern === undefined ? '' : `, \`${schema.pattern}\``;
  return `${String(schema.type)}${pattern}`;
}
