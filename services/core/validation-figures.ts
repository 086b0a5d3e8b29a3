import type { FailureAction } from '#core/rules/validation-config.ts';

/** What an output's checks found since its transformer started. */
export interface ValidationFigures {
  /** Milliseconds since 1970. */
  readonly since: number;
  readonly checks: readonly {
    readonly name: string;
    readonly onFailure: FailureAction;
    readonly passed: number;
    readonly failed: number;
    /** The first ones: place, key and checked values, masked as the output has them. */
    readonly examples: readonly string[];
  }[];
}
