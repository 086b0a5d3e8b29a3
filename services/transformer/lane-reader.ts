import type { EpochReader } from '#core/epoch-reader.ts';
import type { StoredManifest } from '#core/manifest.ts';

/**
 * The raw stream as one lane sees it: every manifest, with the ranges of its own partition and all structures; what stands between rows is the
 * first lane's alone to pass on.
 */
export function laneReader(reader: EpochReader, lane: number, rawSchemasTopic: string): EpochReader {
  const cut = ({ offset, manifest }: StoredManifest): StoredManifest => ({
    offset,
    manifest: {
      ...manifest,
      ranges: manifest.ranges.filter(({ topic, partition }) => topic === rawSchemasTopic || partition === lane),
      control: lane === 0 ? manifest.control : [],
    },
  });
  return {
    async *manifests(from, signal) {
      for await (const manifests of reader.manifests(from, signal)) yield manifests.map(cut);
    },
    read: (range, signal) => reader.read(range, signal),
    last: () => reader.last(),
    end: () => reader.end(),
    close: () => reader.close(),
  };
}
