import { pause } from '#core/backoff.ts';

const POLL_MS = 200;

/** Says where the page is once it answers; silent when it never does before `signal`. */
export async function sayDashboard(port: number, say: (line: string) => void, signal: AbortSignal): Promise<void> {
  const url = `http://127.0.0.1:${port}`;
  while (!signal.aborted) {
    const answer = await fetch(`${url}/livez`, { signal }).catch(() => null);
    if (answer?.ok === true) {
      say(`watch it live: ${url}`);
      return;
    }
    await pause(POLL_MS, signal);
  }
}
