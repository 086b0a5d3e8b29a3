import { describeError, RestageError } from '#core/errors.ts';
import type { Evidence } from './journal.ts';
import type { StepName } from './steps.ts';
import type { SwitchHands } from './switch-run.ts';

/** One of the targets that are switched together. */
export interface MemberHands {
  readonly name: string;
  readonly hands: SwitchHands;
}

/** They take long, and one target's has nothing to do with another's. */
const SIDE_BY_SIDE: ReadonlySet<StepName> = new Set([
  'objects',
  'refresh',
  'analyze',
  'drain',
  'lastObjects',
  'verify',
]);

/** The hands of several targets as one: a step is done once every target has done it. Evidence is named after its target. */
export function joinHands(members: readonly MemberHands[]): SwitchHands {
  const [only, ...others] = members;
  if (only !== undefined && others.length === 0) return only.hands;
  return {
    async run(step, open, signal) {
      const failed = new AbortController();
      const within = AbortSignal.any([signal, failed.signal]);
      const one = async ({ name, hands }: MemberHands): Promise<Evidence> => {
        try {
          return named(name, await hands.run(step, open, within));
        } catch (error) {
          // The first one's reason counts: the others are only cut short.
          failed.abort(atTarget(name, error));
          throw failed.signal.reason;
        }
      };
      return SIDE_BY_SIDE.has(step) ? mergeAll(members.map(one)) : inOrder(members, one);
    },
    // Each of them, whatever becomes of the others: what is left closed is a side that nobody can write to.
    async undo(step, open) {
      const results: Evidence[] = [];
      let first: RestageError | null = null;
      for (const { name, hands } of members.toReversed()) {
        try {
          results.push(named(name, await hands.undo(step, open)));
        } catch (error) {
          if (error instanceof RestageError && error.code === 'operator_lost') throw error;
          first ??= atTarget(name, error);
        }
      }
      if (first !== null) throw first;
      return merge(results);
    },
  };
}

async function inOrder(
  members: readonly MemberHands[],
  one: (member: MemberHands) => Promise<Evidence>,
): Promise<Evidence> {
  const results: Evidence[] = [];
  for (const member of members) results.push(await one(member));
  return merge(results);
}

/** All have ended when it does: nothing of a step goes on behind its undo. */
async function mergeAll(work: readonly Promise<Evidence>[]): Promise<Evidence> {
  const ended = await Promise.allSettled(work);
  for (const one of ended) if (one.status === 'rejected') throw one.reason;
  return merge(ended.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : [])));
}

function named(name: string, evidence: Evidence): Evidence {
  return Object.fromEntries(Object.entries(evidence).map(([key, value]) => [`${name}.${key}`, value]));
}

function merge(all: readonly Evidence[]): Evidence {
  return Object.assign({}, ...all) as Evidence;
}

function atTarget(name: string, error: unknown): RestageError {
  if (!(error instanceof RestageError))
    return new RestageError('switch_failed', describeError(error), { where: `target ${name}`, cause: error });
  const { where, fix } = error;
  return new RestageError(error.code, error.message, {
    where: `target ${name}${where === undefined ? '' : `: ${where}`}`,
    ...(fix === undefined ? {} : { fix }),
    cause: error,
  });
}
