import type { OptionReader } from '#core/option-reader.ts';
import type { HookConfig } from './hook.ts';

/** Names of targets, each once. */
export function readTogether(
  reader: OptionReader,
  targets: readonly { readonly name: string }[],
): { readonly together?: readonly string[] } {
  const together = reader.get('cutover.together');
  if (together === null) return {};
  for (const [at, name] of together.entries()) {
    if (!targets.some((target) => target.name === name))
      reader.report(
        'cutover.together',
        [],
        `no target is named "${name}"; targets: ${targets.map((one) => one.name).join(', ')}`,
      );
    if (together.indexOf(name) !== at) reader.report('cutover.together', [], `"${name}" stands there twice`);
  }
  return { together };
}

/** Nothing where no way to tell is given. */
export function readHook(reader: OptionReader): { readonly hook?: HookConfig } {
  const command = reader.get('cutover.hook.command');
  const url = reader.get('cutover.hook.url');
  const file = reader.get('cutover.hook.file');
  const timeoutMs = reader.get('cutover.hook.timeoutMs');
  return command === null && url === null && file === null ? {} : { hook: { command, url, file, timeoutMs } };
}
