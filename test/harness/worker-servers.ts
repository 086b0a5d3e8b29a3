/** The variables that hold the addresses of a run's servers. */
export const SERVER_NAMES = ['RESTAGE_TEST_KAFKA', 'RESTAGE_TEST_PG15', 'RESTAGE_TEST_PG18'] as const;

/** The variable that holds the address of one worker's own server. */
export function nameOfWorkers(name: string, worker: number | string): string {
  return `${name}_${worker}`;
}
