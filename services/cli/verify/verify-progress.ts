import { SingleBar } from 'cli-progress';

/** How far the scans are, in pages of both databases together. */
export interface VerifyProgress {
  begin(pages: number): void;
  add(pages: number): void;
  /** A table is compared, or its rows are being settled. */
  say(line: string): void;
  end(): void;
}

const LINE_INTERVAL_MS = 5_000;

/** A bar with rate and ETA on a terminal, else a line now and then; standard error either way. */
export function makeProgress(stream: NodeJS.WriteStream, clock: () => number): VerifyProgress {
  return stream.isTTY ? barProgress(stream) : lineProgress((line) => stream.write(`${line}\n`), clock);
}

function barProgress(stream: NodeJS.WriteStream): VerifyProgress {
  const bar = new SingleBar({
    stream,
    hideCursor: true,
    clearOnComplete: true,
    etaBuffer: 50,
    format: 'verify {bar} {percentage} % | {value}/{total} pages | {duration_formatted}, {eta_formatted} left | {what}',
  });
  return {
    begin: (pages) => bar.start(Math.max(1, pages), 0, { what: '' }),
    add: (pages) => bar.increment(pages),
    say: (what) => bar.update({ what }),
    end: () => bar.stop(),
  };
}

export function lineProgress(write: (line: string) => void, clock: () => number): VerifyProgress {
  let total = 1;
  let done = 0;
  let startedAt = clock();
  let saidAt = startedAt;
  return {
    begin(pages) {
      total = Math.max(1, pages);
      startedAt = clock();
      saidAt = startedAt;
    },
    add(pages) {
      done += pages;
      if (clock() - saidAt < LINE_INTERVAL_MS) return;
      saidAt = clock();
      const rate = (done * 1_000) / Math.max(1, saidAt - startedAt);
      const left = Math.max(0, total - done) / Math.max(1, rate);
      write(`verify: ${Math.floor((done * 100) / total)} %, ${Math.round(rate)} pages/s, ${Math.ceil(left)} s left`);
    },
    say: (line) => write(`verify: ${line}`),
    end: () => undefined,
  };
}
