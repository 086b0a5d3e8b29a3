import type { Finding } from './finding.ts';

const MEBIBYTE = 1024 * 1024;
/** Figures of less time say nothing. */
const SHORTEST_SAMPLE_S = 60;
/** Who is woken at night is not at work within less. */
const SHORTEST_STOP_HOURS = 4;

/** `sample`: WAL that was written in so many seconds. `budget`: bytes of it that the slot may keep. */
export function judgeWalRate(
  { bytes, seconds }: { readonly bytes: number; readonly seconds: number },
  budget: number,
): Finding[] {
  const perHour = (bytes / seconds) * 3_600;
  if (seconds < SHORTEST_SAMPLE_S || perHour < MEBIBYTE) return [];
  const hours = budget / perHour;
  const lasts = hours < 100 ? hours.toFixed(1) : Math.round(hours).toString();
  return [
    {
      severity: hours < SHORTEST_STOP_HOURS ? 'warn' : 'info',
      what: 'how much WAL the source writes: a stopped pipeline keeps all of it, and Kafka grows by about as much',
      evidence: `${Math.round(perHour / MEBIBYTE)} MiB an hour in the mean of ${(seconds / 3_600).toFixed(1)} h; source.walBudget.bytes is reached after ${lasts} h`,
      fix: 'give source.walBudget.bytes and the disk what the longest stop takes, and Kafka what the whole migration does',
    },
  ];
}
