/** The variables that hold the addresses of a run's servers. */
export const SERVER_NAMES = ['RESTAGE_TEST_KAFKA', 'RESTAGE_TEST_PG15', 'RESTAGE_TEST_PG18'] as const;
/** The variable that names the sets of servers: whoever holds a set's socket has it. */
export const SETS = 'RESTAGE_TEST_SETS';

/** The variable that holds the address of one set's own server, counted from 1. */
export function nameOfWorkers(name: string, set: number): string {
  return `${name}_${set}`;
}
