import { expect, test } from 'vitest';
import { compareVersions, judgeExtension } from './extension-plan.ts';

test('versions are ordered as people number them', () => {
  expect(['1.10', '1.9', '2.0', '1.9.1'].toSorted(compareVersions)).toEqual(['1.9', '1.9.1', '1.10', '2.0']);
});

test('an older extension at the target is named with the version that it could have', () => {
  const pair = { name: 'hstore', version: '1.8', installed: null, byDefault: '1.8', available: ['1.4', '1.8', '1.9'] };
  expect(judgeExtension(pair)).toEqual({ is: 'equal' });
  expect(judgeExtension({ ...pair, byDefault: '1.9' })).toEqual({ is: 'newer' });
  expect(judgeExtension({ ...pair, byDefault: null })).toEqual({ is: 'absent' });
  expect(judgeExtension({ ...pair, installed: '1.4' })).toEqual({ is: 'older', has: '1.4', fix: '1.8' });
  expect(judgeExtension({ ...pair, byDefault: '1.4', available: ['1.4'] })).toEqual({
    is: 'older',
    has: '1.4',
    fix: null,
  });
});
