/** `rehearsal` of the configuration: where clones are made, of what, and what they must stand. */
export interface RehearsalConfig {
  /** A database of the server that clones are made on, as a role that may make databases. Null with a command. */
  readonly url: string | null;
  /** The database on that server that clones begin as; null: an empty one. Never a live target. */
  readonly baseline: string | null;
  readonly driver: DriverChoice;
  /** Shell commands that make and remove a clone somewhere else; see docs/rehearse.md. */
  readonly command: { readonly create: string; readonly drop: string } | null;
  /** A shell command that tries the application on the clone; null: none. */
  readonly smoke: string | null;
  readonly smokeSeconds: number;
  /** The switch is rehearsed there and back, with a second clone in the source's place. */
  readonly rollback: boolean;
  readonly budget: RehearsalBudget;
}

export interface RehearsalBudget {
  /** Most seconds from the end of writes to a target that has all of them. Null: none. */
  readonly switchSeconds: number | null;
  /** Most seconds that the whole replay may take. Null: none. */
  readonly replaySeconds: number | null;
  /** Most seconds for which the rehearsed cutover, or the rollback, may refuse writes. Null: none. */
  readonly downtimeSeconds: number | null;
}

export const DRIVERS = ['template', 'dump', 'command'] as const;
export type DriverKind = (typeof DRIVERS)[number];
export type DriverChoice = DriverKind | 'auto';
