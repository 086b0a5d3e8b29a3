import { spawn } from 'node:child_process';
import { rename, writeFile } from 'node:fs/promises';
import { endGroup } from '#adapters/process-group.ts';
import { describeError, RestageError } from '#core/errors.ts';
import type { HookConfig, HookMessage } from '#core/migration/hook.ts';

/** Tells everybody who is to be told, one after another. @throws RestageError hook_failed, also after its time. */
export async function callHook(hook: HookConfig, message: HookMessage): Promise<void> {
  const text = JSON.stringify(message);
  if (hook.command !== null)
    await attempt(`command ${hook.command[0] ?? ''}`, message, runCommand(hook.command, text, hook));
  if (hook.url !== null) await attempt(`POST to ${new URL(hook.url).host}`, message, post(hook.url, text, hook));
  if (hook.file !== null) await attempt(`file ${hook.file}`, message, replaceFile(hook.file, text));
}

async function attempt(what: string, { event }: HookMessage, work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (cause) {
    throw new RestageError('hook_failed', `the hook failed at ${event}: ${describeError(cause)}`, {
      where: `cutover.hook: ${what}`,
      fix: 'mend the hook, and run the same command again',
      cause,
    });
  }
}

function runCommand([program = '', ...args]: readonly string[], text: string, hook: HookConfig): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: ['pipe', 'ignore', 'inherit'],
      env: { ...process.env, RESTAGE_HOOK: text },
      // Ctrl-C is the operator's; what was begun here is ended or undone by it. A group of its own, so that all of it can be ended.
      detached: true,
    });
    const timer = setTimeout(() => {
      endGroup(child.pid);
      reject(new Error(`it did not end within ${hook.timeoutMs} ms and was ended`));
    }, hook.timeoutMs);
    child.once('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      if (code === 0) resolve();
      else reject(new Error(`it ended with ${code ?? signal ?? 'nothing'}`));
    });
    child.stdin.on('error', () => undefined);
    child.stdin.end(text);
  });
}

async function post(url: string, text: string, { timeoutMs }: HookConfig): Promise<void> {
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: text,
    redirect: 'error',
    signal: AbortSignal.timeout(timeoutMs),
  });
  await answer.body?.cancel();
  if (!answer.ok) throw new Error(`it answered ${answer.status}`);
}

/** In one piece: a reader sees the old message or the new one. */
async function replaceFile(file: string, text: string): Promise<void> {
  const beside = `${file}.${process.pid}`;
  await writeFile(beside, `${text}\n`);
  await rename(beside, file);
}
