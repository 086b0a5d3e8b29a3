import type { KafkaRecord } from '#core/record.ts';

export const STAMP = { producerId: 1n, producerEpoch: 0, baseSequence: 0, timestampMs: 0, compress: false };

/** Reads an uncompressed batch back (Kafka: "Message Format"). */
export function unseal(bytes: Buffer): Omit<KafkaRecord, 'offset'>[] {
  let at = 61;
  const varint = (): number => {
    let [value, shift, byte] = [0, 0, 0];
    do {
      byte = bytes[at++] ?? 0;
      value += (byte & 127) * 2 ** shift;
      shift += 7;
    } while (byte > 127);
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  };
  const take = (): Buffer | null => {
    const length = varint();
    if (length < 0) return null;
    at += length;
    return bytes.subarray(at - length, at);
  };
  return Array.from({ length: bytes.readInt32BE(57) }, () => {
    varint();
    at += 2;
    varint();
    const [key, value] = [take(), take()];
    const headers = Array.from({ length: varint() }, () => [String(take()), take() ?? Buffer.alloc(0)] as const);
    return { key, value, headers: new Map(headers) };
  });
}

/** A record's headers from their encoded form: as the only record of a batch. */
export function readHeaders(encoded: Buffer): ReadonlyMap<string, Buffer> {
  const frame = Buffer.concat([Buffer.alloc(61), Buffer.from([0, 0, 0, 0, 1, 1]), Buffer.from(encoded)]);
  frame.writeInt32BE(1, 57);
  return unseal(frame)[0]?.headers ?? new Map<string, Buffer>();
}
