import { describe, expect, it } from 'vitest';
import { joinShares } from './joined-shares.ts';
import type { Manifest, StoredManifest } from './manifest.ts';

function share(offset: bigint, more: Partial<Manifest>): StoredManifest {
  const manifest: Manifest = {
    format: 3,
    incarnation: 'i',
    kind: 'chunk',
    epoch: 0,
    part: 1,
    last: true,
    firstCommit: null,
    lastCommit: null,
    lastOrdinal: 0,
    through: '0/10',
    commitTime: null,
    systemId: '1',
    timeline: 1,
    load: 1,
    ranges: [],
    control: [],
    plan: null,
    raw: { epoch: 0, part: 1, offset: '7', rules: 'r' },
    total: { rows: 9, events: 9 },
    ...more,
  };
  return { offset, manifest };
}

const range = (partition: number): Manifest['ranges'][number] => {
  return { topic: 't', partition, first: '4', last: '5', count: 2 };
};

describe('joinShares', () => {
  it('names the ranges of all, adds rows up, and says where each share stands and where its own plan is', () => {
    const joined = joinShares(
      [share(3n, { rows: 2, ranges: [range(0)] }), share(8n, { rows: 5, ranges: [range(1)] })],
      '2',
    );
    expect(joined).toMatchObject({ counts: [], ranges: [range(0), range(1)] });
    expect(joined.draft).toMatchObject({
      kind: 'chunk',
      rows: 7,
      plan: '2',
      raw: { offset: '7', rules: 'r', shares: ['3', '8'] },
    });
    expect(joined.draft).not.toHaveProperty('total');
    expect(joined.draft).not.toHaveProperty('joint');
  });

  it('is joint where any share is', () => {
    expect(joinShares([share(0n, { rows: 0 }), share(0n, { joint: true })], null).draft.joint).toBe(true);
  });

  it('refuses shares of different manifests: a lane would be ahead of the others for good', () => {
    const other = share(1n, { raw: { epoch: 0, part: 1, offset: '8' } });
    expect(() => joinShares([share(0n, {}), other], null)).toThrow('different manifests');
  });
});
