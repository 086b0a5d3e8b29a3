/** One thing that a pipeline made outside itself, and how it goes. */
export interface Piece {
  /** `slot`, `topic` … */
  readonly kind: string;
  readonly name: string;
  /** `source`, `kafka`, `registry`, or `target NAME`. */
  readonly place: string;
  /** One that is gone by then is no fault. */
  readonly remove: () => Promise<void>;
}

/** What stays, and why. */
export interface Kept {
  readonly kind: string;
  readonly name: string;
  readonly place: string;
  readonly why: string;
}

/** What one server has of a pipeline, in the order in which it is to go. */
export interface Part {
  readonly pieces: readonly Piece[];
  readonly kept: readonly Kept[];
  /** Services that are at work there, as people name them. */
  readonly active: readonly string[];
  readonly close: () => Promise<void>;
}
