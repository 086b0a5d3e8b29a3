import type { OptionReader } from '#core/option-reader.ts';
import type { HookConfig } from './hook.ts';

/** Nothing where no way to tell is given. */
export function readHook(reader: OptionReader): { readonly hook?: HookConfig } {
  const command = reader.get('cutover.hook.command');
  const url = reader.get('cutover.hook.url');
  const file = reader.get('cutover.hook.file');
  const timeoutMs = reader.get('cutover.hook.timeoutMs');
  return command === null && url === null && file === null ? {} : { hook: { command, url, file, timeoutMs } };
}
