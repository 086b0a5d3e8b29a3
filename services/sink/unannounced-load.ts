import { RestageError } from '#core/errors.ts';
import type { StoredManifest } from '#core/manifest.ts';

/** A load of which the target has nothing, and that no announcement stands before: its rows would be passed over. */
export function unannouncedLoad({ offset, manifest }: StoredManifest): RestageError {
  return new RestageError(
    'manifest_invalid',
    `load ${manifest.load} begins unannounced after the first one has ended`,
    {
      where: `.epochs, offset ${offset}`,
      fix: 'this is a fault of Restage: keep the topics and report it',
    },
  );
}
