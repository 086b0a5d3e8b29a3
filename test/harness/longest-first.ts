import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** What takes half a minute or more, the longest first: begun last, one worker would wait for the other. By size alone they come last, as they are short. */
const LONGEST = [
  'e2e/demo',
  'chaos/failpoints',
  'e2e/ddl',
  'integration/replay',
  'integration/debezium-source',
  'integration/sink',
  'e2e/cutover-together',
  'e2e/late-loads',
  'chaos/zombies',
  'chaos/storm',
  'e2e/shaped-letters',
  'integration/away',
  'integration/corpus',
  'e2e/cutover',
  'integration/load-seams',
  'integration/silent-gaps',
  'integration/teardown',
  'e2e/renames',
  'e2e/least-privilege',
  'integration/rehearse',
  'e2e/ordering-key',
  'integration/kept-snapshot',
  'integration/module-outbox',
  'e2e/large-rows',
  'integration/table-topics',
  'e2e/partitions',
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
