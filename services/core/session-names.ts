/** application_name of the sessions that keep the load's snapshot. */
export function keeperApplication(pipeline: string): string {
  return `restage ${pipeline} keeper`;
}

export function producerLease(pipeline: string): string {
  return `${pipeline}.producer`;
}
