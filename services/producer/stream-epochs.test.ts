import { describe, expect, it } from 'vitest';
import { lsnOf } from '#core/lsn.ts';
import { keyPartitioner } from '#core/partitioner.ts';
import { countRecords } from '#core/record-counts.ts';
import { StreamEpochs, type StreamResume } from './stream-epochs.ts';

const fresh: StreamResume = { epoch: 4, part: 1, last: true, through: lsnOf(100n), written: null };

describe('StreamEpochs', () => {
  it('puts rows into partitions by their keys, tombstones beside their deletes, and says where more than one is concerned', () => {
    const epochs = new StreamEpochs(fresh, keyPartitioner(5));
    const put = (key: string, value: string | null, ordinal: number): void =>
      epochs.append('t', key, value, { commit: lsnOf(110n), ordinal }, 1n, 1, 0);
    epochs.begin(lsnOf(110n), 1n);
    put('{"id":1}', 'new', 1);
    put('{"id":1}', null, 1);
    put('{"id":7}', 'new', 2);
    epochs.commit(lsnOf(120n));
    const part = epochs.take();
    const places = ['{"id":1}', '{"id":7}'].map(keyPartitioner(5));
    expect(part.isJoint).toBe(false);
    expect(Object.fromEntries(countRecords(part.data).map(({ partition, count }) => [partition, count]))).toEqual({
      [places[0] ?? 0]: 2,
      [places[1] ?? 0]: 1,
    });
    transaction(epochs, 130n, 1, 140n);
    epochs.noteKeyChange();
    expect([epochs.take().isJoint, epochs.hasContent]).toEqual([true, false]);
    epochs.begin(lsnOf(150n), 1n);
    const at = { commit: '0/96', ordinal: 1 };
    const position = { commit: lsnOf(150n), ordinal: 1 };
    epochs.appendControl({ kind: 'barrier', ...at, id: 'b' }, position, 0);
    epochs.commit(lsnOf(160n));
    expect(epochs.take().isJoint).toBe(false);
    epochs.begin(lsnOf(170n), 1n);
    epochs.appendControl(
      { kind: 'truncate', ...at, topics: ['t'], cascade: false, restartIdentity: false },
      position,
      0,
    );
    epochs.commit(lsnOf(180n));
    expect(epochs.take().isJoint).toBe(true);
  });

  it('gathers whole transactions into one epoch that ends at the last commit', () => {
    const epochs = new StreamEpochs(fresh);
    transaction(epochs, 110n, 2, 120n);
    transaction(epochs, 130n, 1, 140n);
    const part = epochs.take();
    expect(part).toMatchObject({
      epoch: 5,
      part: 1,
      last: true,
      firstCommit: 110n,
      lastCommit: 130n,
      lastOrdinal: 1,
      through: 140n,
      events: 3,
    });
    expect(epochs.hasContent).toBe(false);
  });

  it('never says less in a part than an empty manifest before it, and goes on at the ordinal after a restart', () => {
    const epochs = new StreamEpochs(fresh);
    epochs.reach(lsnOf(105n));
    epochs.begin(lsnOf(110n), 1n);
    append(epochs, 110n, 1);
    append(epochs, 110n, 2);
    const first = epochs.take();
    expect(first).toMatchObject({ part: 1, last: false, through: 105n, lastOrdinal: 2 });

    const again = new StreamEpochs({
      epoch: 5,
      part: 1,
      last: false,
      through: lsnOf(100n),
      written: { commit: lsnOf(110n), ordinal: 2 },
    });
    again.begin(lsnOf(110n), 1n);
    expect(again.isNew({ commit: lsnOf(110n), ordinal: 2 })).toBe(false);
    expect(again.isNew({ commit: lsnOf(110n), ordinal: 3 })).toBe(true);
    append(again, 110n, 3);
    again.commit(lsnOf(150n));
    expect(again.take()).toMatchObject({ epoch: 5, part: 2, last: true, through: 150n, lastOrdinal: 3 });
  });

  it('ends an epoch of parts with the transaction that was cut, however small its rest is and whatever waits behind it', () => {
    const epochs = new StreamEpochs(fresh);
    transaction(epochs, 110n, 1, 120n);
    const limits = { bytes: epochs.bytes * 2, partBytes: epochs.bytes * 2 };
    expect(epochs.isFull(limits)).toBe(false);
    epochs.begin(lsnOf(130n), 1n);
    append(epochs, 130n, 1);
    expect(epochs.isFull(limits)).toBe(true);
    expect(epochs.take()).toMatchObject({ part: 1, last: false });
    append(epochs, 130n, 2);
    expect(epochs.isFull(limits)).toBe(false);
    epochs.commit(lsnOf(140n));
    expect(epochs.isFull(limits)).toBe(true);
    expect(epochs.take()).toMatchObject({ part: 2, last: true, through: 140n });
    expect(epochs.isFull(limits)).toBe(false);
  });

  it('ends an epoch whose parts were all written before the restart', () => {
    const epochs = new StreamEpochs({
      epoch: 5,
      part: 1,
      last: false,
      through: lsnOf(100n),
      written: { commit: lsnOf(110n), ordinal: 2 },
    });
    // Ended now, the epoch would tear the transaction, whose rest is still to come.
    expect(epochs).toMatchObject({ hasContent: false, isAtBoundary: false });
    epochs.reach(lsnOf(109n));
    expect(epochs.reached).toBe(100n);
    epochs.begin(lsnOf(110n), 1n);
    expect(epochs.hasContent).toBe(false);
    epochs.commit(lsnOf(150n));
    expect(epochs.hasContent).toBe(true);
    expect(epochs.take()).toMatchObject({
      epoch: 5,
      part: 2,
      last: true,
      through: 150n,
      lastCommit: 110n,
      lastOrdinal: 2,
      events: 0,
    });
  });

  it('owes nothing where the last part ended between two transactions', () => {
    const epochs = new StreamEpochs({
      epoch: 5,
      part: 1,
      last: false,
      through: lsnOf(120n),
      written: { commit: lsnOf(110n), ordinal: 2 },
    });
    expect(epochs).toMatchObject({ hasContent: true, isAtBoundary: true });
    expect(epochs.take()).toMatchObject({ epoch: 5, part: 2, last: true, through: 120n });
  });

  it('has open parts of a transaction as long as that goes on, and of an earlier life until its own goes on', () => {
    const epochs = new StreamEpochs(fresh);
    epochs.begin(lsnOf(110n), 1n);
    append(epochs, 110n, 1);
    expect(epochs.hasOpenParts).toBe(false);
    epochs.take();
    expect(epochs.hasOpenParts).toBe(true);
    epochs.commit(lsnOf(120n));
    epochs.begin(lsnOf(130n), 1n);
    expect(epochs.hasOpenParts).toBe(false);

    const again = new StreamEpochs({ ...fresh, last: false, written: { commit: lsnOf(110n), ordinal: 1 } });
    expect(again.hasOpenParts).toBe(true);
    transaction(again, 110n, 1, 120n);
    again.begin(lsnOf(130n), 1n);
    expect(again.hasOpenParts).toBe(false);
  });

  it('moves on keep-alives only between transactions', () => {
    const epochs = new StreamEpochs(fresh);
    epochs.begin(lsnOf(110n), 1n);
    epochs.reach(lsnOf(500n));
    expect(epochs.reached).toBe(100n);
    epochs.commit(lsnOf(120n));
    epochs.reach(lsnOf(500n));
    expect(epochs.reached).toBe(500n);
    expect(epochs.hasContent).toBe(false);
  });
});

function transaction(epochs: StreamEpochs, commit: bigint, events: number, end: bigint): void {
  epochs.begin(lsnOf(commit), 1n);
  for (let ordinal = 1; ordinal <= events; ordinal += 1) append(epochs, commit, ordinal);
  epochs.commit(lsnOf(end));
}

function append(epochs: StreamEpochs, commit: bigint, ordinal: number): void {
  epochs.append('t', '{}', '{}', { commit: lsnOf(commit), ordinal }, 1n, 1, 1);
}
