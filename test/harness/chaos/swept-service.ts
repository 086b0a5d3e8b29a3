import { FAILPOINTS, type FailpointName } from '#core/failpoints.ts';
import { startCli, type CliProcess, type CliResult } from '../cli.ts';

/** A life until its failpoint: servers, leases of 10 s and several lives of the service before it included, on a busy machine. */
const LIFE_MS = 240_000;

interface Stop {
  readonly name: FailpointName;
  readonly hit: number;
}

/** One service that is killed at each of a list of failpoints, one life after another, and then lives on. */
export class SweptService implements AsyncDisposable {
  /** Failpoints that any of its lives came by. */
  readonly met = new Set<string>();
  readonly #service: 'producer' | 'transformer' | 'sink';
  readonly #args: readonly string[];
  #life: CliProcess | null = null;
  #isGivenUp = false;

  constructor(service: 'producer' | 'transformer' | 'sink', args: readonly string[]) {
    this.#service = service;
    this.#args = args;
  }

  /** `list`: `step.moment:hit`, `step.*` for all its moments. */
  async sweep(list: string): Promise<void> {
    await this.drain();
    for (const stop of expand(this.#service, list)) {
      if (this.#isGivenUp) return;
      const life = this.#start(`,${stop.name}=kill:${stop.hit}`);
      const { signal, stderr } = await life.result(LIFE_MS).catch((error: unknown) => {
        throw new Error(`${stop.name}:${stop.hit} was not met`, { cause: error });
      });
      this.#learn(stderr);
      if (this.#isGivenUp) return;
      if (signal !== 'SIGKILL' || !stderr.includes(`failpoint ${stop.name}: kill`))
        throw new Error(`${this.#service} ended before ${stop.name}:${stop.hit}:\n${stderr}`);
    }
    this.#start('');
  }

  /** Ends the life that waits for its failpoint. */
  giveUp(): void {
    this.#isGivenUp = true;
    this.#life?.kill('SIGKILL');
  }

  /** The end of what its last life said, for messages. */
  lastWords(): string {
    return `${this.#service}: ${
      this.#life
        ?.stderr()
        .replaceAll(/^failpoint .*\n/gm, '')
        .slice(-3_000) ?? 'not started'
    }`;
  }

  async drain(): Promise<CliResult | null> {
    const life = this.#life;
    if (life === null) return null;
    this.#life = null;
    life.kill('SIGTERM');
    const result = await life.result();
    this.#learn(result.stderr);
    return result;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#life?.[Symbol.asyncDispose]();
  }

  #start(armed: string): CliProcess {
    const env = { RESTAGE_FAILPOINTS: `*=say${armed}`, RESTAGE_LOG: 'warn' };
    this.#life = startCli(this.#args, env);
    return this.#life;
  }

  #learn(stderr: string): void {
    for (const [, name = ''] of stderr.matchAll(/^failpoint (\S+): say$/gm)) this.met.add(name);
  }
}

function expand(service: string, list: string): Stop[] {
  return list
    .trim()
    .split(/\s+/)
    .flatMap((entry) => {
      const [step = '', hit = '1'] = entry.split(':');
      const pattern = `${service}.${step}`;
      const names = FAILPOINTS.filter((name) =>
        pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern,
      );
      if (names.length === 0) throw new Error(`there is no failpoint ${pattern}`);
      return names.map((name) => ({ name, hit: Number(hit) }));
    });
}
