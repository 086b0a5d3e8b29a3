import { RestageError } from '#core/errors.ts';
import type { ModuleDeclaration } from '#core/module/declaration.ts';

/** An output's module: TypeScript, for what rules cannot say. */
export interface ModuleConfig {
  /** As the configuration says it, relative to its file. */
  readonly file: string;
  /** Of heap; the module's process may take so much, and 128 MiB for itself. MiB. */
  readonly memoryMb: number;
  /** For the functions of one batch, together. */
  readonly batchMs: number;
  /** What it says of itself, once somebody has asked it (adapters/module). */
  readonly declaration?: ModuleDeclaration;
}

/** null: the output has no module. */
export function declarationOf({ module = null }: { readonly module?: ModuleConfig | null }): ModuleDeclaration | null {
  if (module === null) return null;
  if (module.declaration === undefined) throw new RestageError('bug', 'a module was not asked for its tables');
  return module.declaration;
}
