import path from 'node:path';
import type { Config, OutputConfig } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import { readDeclaration, type ModuleDeclaration } from '#core/module/declaration.ts';
import type { ModuleConfig } from '#core/module/module-config.ts';
import type { ModuleAnswer, ModuleInput, ModuleRunner } from '#core/module/module-runner.ts';
import { bundleModule, type ModuleBundle } from './bundle-module.ts';
import { ModuleProcess, type Ending } from './module-process.ts';
import type { Said } from './process/serve.ts';

/** Node may take long to start where much else is at work; the module's own limit is for its functions. */
const START_MS = 60_000;

const NEVER = new AbortController().signal;

/**
 * Compiles a module and starts it. `configFile`: the configuration, which the module's path begins at.
 * @throws RestageError rule_invalid where it does not compile, or is no transform.
 */
export async function openModule(config: ModuleConfig, configFile: string): Promise<ModuleRunner> {
  const bundle = await bundleModule(config.file, path.dirname(configFile));
  const process = new ModuleProcess(bundle.code, config);
  const said = await process.hello(START_MS, NEVER);
  if (typeof said === 'string') throw notStarted(said, process, bundle, config);
  return new ProcessRunner(config, bundle, process, readDeclaration(JSON.parse(said.said), config.file));
}

/** The configuration with what its modules say of themselves: whoever asks for the shape of an output needs it. @throws RestageError rule_invalid. */
export async function declareModules(config: Config): Promise<Config> {
  const outputs: OutputConfig[] = [];
  for (const output of config.outputs) outputs.push(await declareModule(output, config.file));
  return { ...config, outputs };
}

async function declareModule(output: OutputConfig, configFile: string): Promise<OutputConfig> {
  const { module = null } = output;
  if (module === null) return output;
  const runner = await openModule(module, configFile);
  await runner.close();
  return { ...output, module: { ...module, declaration: runner.declaration } };
}

function notStarted(
  ending: Ending,
  process: ModuleProcess,
  { placeOf }: ModuleBundle,
  { file, memoryMb }: ModuleConfig,
): RestageError {
  const frames = [...process.lastWords.matchAll(/restage-module\.js:(\d+):(\d+)/g)].map(
    ([, line, column]) => [Number(line), Number(column)] as const,
  );
  const place = placeOf(frames);
  // What it throws before any row was given to it holds no row's value.
  const thrown = /^(?:\w*Error|Refusal)\b.*$/m.exec(process.lastWords)?.[0];
  const what = ending === 'time' ? 'it does not come to its end' : `it ended, or took more than ${memoryMb} MiB`;
  return new RestageError('rule_invalid', `the module cannot be loaded: ${thrown ?? what}`, {
    where: place === '' ? file : place,
    fix: 'at its top a module only declares',
  });
}

class ProcessRunner implements ModuleRunner {
  readonly declaration: ModuleDeclaration;
  readonly code: string;
  readonly #config: ModuleConfig;
  readonly #bundle: ModuleBundle;
  #process: ModuleProcess | null;

  constructor(config: ModuleConfig, bundle: ModuleBundle, process: ModuleProcess, declaration: ModuleDeclaration) {
    this.#config = config;
    this.#bundle = bundle;
    this.#process = process;
    this.declaration = declaration;
    this.code = bundle.own;
  }

  /**
   * Where the process ends, the first input without an answer is tried alone: the time may have gone to those before it, and the memory.
   * Ended again, it is at fault; the others go on.
   */
  async run(batch: readonly ModuleInput[], signal: AbortSignal): Promise<ModuleAnswer[]> {
    const answers: ModuleAnswer[] = [];
    let isAlone = false;
    while (answers.length < batch.length && !signal.aborted) {
      const part = batch.slice(answers.length, isAlone ? answers.length + 1 : batch.length);
      const isFresh = this.#process === null;
      const process = await this.#ready(signal);
      const [said, ending] = await process.ask(part, this.#config.batchMs, signal);
      answers.push(...said.map((one) => this.#answer(one)));
      if (ending === null) {
        isAlone = false;
        continue;
      }
      this.#process = null;
      if (ending === 'stopped') break;
      const isAtFault = isFresh && part.length === 1;
      if (isAtFault) answers.push({ kind: 'fault', reason: this.#reason(ending), place: '' });
      isAlone = !isAtFault;
    }
    return answers;
  }

  async close(): Promise<void> {
    await this.#process?.close();
    this.#process = null;
  }

  async #ready(signal: AbortSignal): Promise<ModuleProcess> {
    if (this.#process !== null) return this.#process;
    const process = new ModuleProcess(this.#bundle.code, this.#config);
    const said = await process.hello(START_MS, signal);
    if (said === 'time' || said === 'memory')
      throw new RestageError('transient', "the module's process does not start", { where: this.#config.file });
    this.#process = process;
    return process;
  }

  #reason(ending: Ending): string {
    const { batchMs, memoryMb } = this.#config;
    return ending === 'time'
      ? `its function takes longer than ${batchMs} ms`
      : `its function takes more than ${memoryMb} MiB, or ends its process`;
  }

  #answer(said: Said): ModuleAnswer {
    if ('changes' in said) return { kind: 'changes', changes: said.changes };
    return { kind: 'fault', reason: said.fault, place: this.#bundle.placeOf(said.frames) };
  }
}
