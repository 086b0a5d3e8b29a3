/**
 * Makes and removes clones of a baseline database.
 *
 * Order: `create` after `drop` of the same name; one command at a time, which a lock sees to. Duplicates: `drop` of a clone that is not
 * there does nothing; `create` where one is there is an error. Concurrency: none. An acknowledgement of `create` means that the clone
 * takes sessions and holds what the baseline held; nobody else knows of it. Neither touches a database that is not a clone of ours.
 */
export interface CloneDriver {
  readonly kind: string;
  /** What it will cost; null where this driver cannot work here, with the reason in `refusal`. */
  probe(): Promise<CloneProbe>;
  /** The clone's URL. @throws RestageError clone_refused. */
  create(name: string): Promise<string>;
  drop(name: string): Promise<void>;
}

export type CloneProbe =
  | { readonly can: true; readonly bytes: number | null; readonly seconds: number | null }
  | { readonly can: false; readonly refusal: string };

/** `restage_rehearsal_<pipeline>_<target>`, within PostgreSQL's 63 bytes: names have 40 characters at most. */
export function cloneName(pipeline: string, target: string): string {
  const whole = `restage_rehearsal_${pipeline}_${target}`.replaceAll('-', '_');
  return whole.length <= 63
    ? whole
    : `restage_rehearsal_${pipeline.slice(0, 21)}_${target.slice(-22)}`.replaceAll('-', '_');
}
