import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** What takes a minute or more, the longest first: begun last, one worker would wait for the other. By size alone they come last, as they are short. */
const LONGEST = [
  'e2e/ddl',
  'integration/debezium-source',
  'e2e/demo',
  'chaos/failpoints',
  'chaos/storm',
  'e2e/renames',
  'e2e/late-loads',
  'integration/replay',
  'chaos/zombies',
  'e2e/cutover-together',
  'e2e/cutover',
  'e2e/partitions',
  'integration/away',
  'integration/corpus',
  'integration/load-seams',
  'e2e/shaped-letters',
];

/** Files of a fresh clone, of which nobody knows yet how long they take, in the order of their length. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    // oxlint-disable-next-line unicorn/no-array-sort -- the base class's own, no array's
    return (await super.sort(files)).toSorted((left, right) => placeOf(left) - placeOf(right));
  }
}

function placeOf({ moduleId }: TestSpecification): number {
  const at = LONGEST.findIndex((name) => moduleId.endsWith(`/${name}.test.ts`));
  return at === -1 ? LONGEST.length : at;
}
