import * as z from 'zod';
import { HOLD_SILENCE_MS, type HoldGate, type HoldRequest } from '#core/control.ts';
import { formatLsn, parseLsn } from '#core/lsn.ts';

const schema = z.object({ id: z.string().min(1), lsn: z.string().nullable() });

/** A request as a record of the control topic. */
export function writeHold(request: HoldRequest): string {
  return JSON.stringify({ id: request.id, lsn: request.lsn === null ? null : formatLsn(request.lsn) });
}

/** The requests that reach one service. A record that is not of the known form is as none: a sink runs unless told otherwise. */
export class HoldRequests implements HoldGate {
  readonly #onAcknowledge: (id: string | null) => void;
  #request: HoldRequest | null = null;
  #change = new AbortController();
  #silence: NodeJS.Timeout | undefined;

  constructor(onAcknowledge: (id: string | null) => void) {
    this.#onAcknowledge = onAcknowledge;
  }

  get request(): HoldRequest | null {
    return this.#request;
  }

  get changed(): AbortSignal {
    return this.#change.signal;
  }

  acknowledge(id: string | null): void {
    this.#onAcknowledge(id);
  }

  take(value: Buffer | null | undefined): void {
    clearTimeout(this.#silence);
    const request = readHold(value);
    if (request !== null) {
      this.#silence = setTimeout(() => this.#set(null), HOLD_SILENCE_MS);
      this.#silence.unref();
    }
    this.#set(request);
  }

  close(): void {
    clearTimeout(this.#silence);
  }

  #set(request: HoldRequest | null): void {
    if (request?.id === this.#request?.id && request?.lsn === this.#request?.lsn) return;
    this.#request = request;
    const change = this.#change;
    this.#change = new AbortController();
    change.abort();
  }
}

function readHold(value: Buffer | null | undefined): HoldRequest | null {
  if (value === null || value === undefined) return null;
  try {
    const { id, lsn } = schema.parse(JSON.parse(value.toString('utf8')));
    return { id, lsn: lsn === null ? null : parseLsn(lsn) };
  } catch {
    return null;
  }
}
