import type { BenchCase } from '../bench-case.ts';
import { drainOnce } from './drain.ts';
import { loadTogether } from './load.ts';
import { wideWork } from './wide-work.ts';

/** Rows as applications have them: their size, not their number, is what is worked on. */
export const wide: BenchCase = {
  name: 'wide',
  about: 'a table of 30 columns and 1 kB a row: its load, and a backlog without and with a transformer',
  async run(servers, options, report) {
    await loadTogether(servers, options, wideWork, report);
    // Ten changes a transaction, where pgbench has four.
    const size = { ...options, transactions: Math.ceil(options.transactions / 5) };
    await drainOnce(servers, size, { work: wideWork, rule: null }, report);
    await drainOnce(servers, size, { work: wideWork, rule: wideWork.rule }, report);
  },
};
