/** Wakes a waiting loop; a notice given while nobody waits is kept for the next wait. */
export class Notifier {
  #isPending = false;
  #wake: (() => void) | null = null;

  notify(): void {
    this.#isPending = true;
    this.#wake?.();
  }

  /** Resolves at the next notice, after `ms`, or when aborted. */
  async wait(ms: number, signal: AbortSignal): Promise<void> {
    if (!this.#isPending && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          clearTimeout(timer);
          signal.removeEventListener('abort', wake);
          resolve();
        };
        const timer = setTimeout(wake, ms);
        this.#wake = wake;
        signal.addEventListener('abort', wake);
      });
      this.#wake = null;
    }
    this.#isPending = false;
  }
}
