import { openModule } from '#adapters/module/open-module.ts';
import type { OutputConfig } from '#core/config.ts';
import { ModuleStage } from '#core/module/module-stage.ts';

/** The output's module at hand, null where it has none, until `use` is done. @throws RestageError rule_invalid where it does not compile. */
export async function withModule<T>(
  { module = null }: OutputConfig,
  configFile: string,
  use: (module: ModuleStage | null) => Promise<T>,
): Promise<T> {
  if (module === null) return use(null);
  const runner = await openModule(module, configFile);
  try {
    return await use(new ModuleStage(runner, 'dry-run'));
  } finally {
    await runner.close();
  }
}
