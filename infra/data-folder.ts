import { createHash } from 'node:crypto';
import { chmodSync, lstatSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RestageError } from '#core/errors.ts';
import { canReach, unprivilegedUser } from '#infra/system-user.ts';

/**
 * Where embedded servers keep everything: `.restage/` in the checkout. When we are root and the user that PostgreSQL
 * has to run as cannot reach it (a checkout under /root), a folder of this checkout under the system's temporary one.
 */
export function dataFolder(root: string): string {
  const usual = join(root, '.restage');
  mkdirSync(usual, { recursive: true });
  if (canReach(unprivilegedUser(), usual)) return usual;
  const hash = createHash('sha256').update(root).digest('hex').slice(0, 12);
  const other = join(tmpdir(), `restage-${hash}`);
  mkdirSync(other, { recursive: true });
  const stat = lstatSync(other);
  if (!stat.isDirectory() || stat.uid !== process.getuid?.()) {
    throw new RestageError('component_missing', 'the temporary data folder belongs to somebody else', {
      where: other,
      fix: `remove ${other}`,
    });
  }
  chmodSync(other, 0o711);
  return other;
}
