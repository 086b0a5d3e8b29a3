/** What a pipeline's file says; cases change a little of it. */
export interface Given {
  /** URLs. */
  readonly source: string;
  readonly target: string;
  /** The key's value, as YAML. */
  readonly kafka: string;
  /** What stands between the quotes of one pattern. */
  readonly tables: string;
  readonly schema: string;
  /** Further keys of the file. */
  readonly more: string;
}

export function configText(name: string, given: Given): string {
  return `name: ${name}
kafka: ${given.kafka}
source:
  postgres: { url: "${given.source}" }
  tables: ["${given.tables}"]
targets:
  - { name: new, postgres: { url: "${given.target}" }, schema: ${given.schema} }
${given.more}
`;
}
