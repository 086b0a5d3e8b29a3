import type pg from 'pg';
import type { Logger } from '#core/log.ts';

/** What an attempt has opened, closed when it ends, the newest first. */
export class Closers {
  readonly #closers: (() => Promise<unknown>)[] = [];

  add(close: () => Promise<unknown>): void {
    this.#closers.push(close);
  }

  async open(opening: Promise<pg.Client>): Promise<pg.Client> {
    const client = await opening;
    this.add(() => client.end());
    return client;
  }

  /** What cannot be closed is logged: the attempt has ended already. */
  async closeAll(logger: Logger): Promise<void> {
    for (const close of this.#closers.toReversed())
      await close().catch((error: unknown) => logger.debug({ error }, 'closing failed'));
  }
}
