import type { Socket } from 'node:net';

/** What pg.Query does with its connection; the published types leave it out. */
export interface WireConnection {
  readonly stream: Socket;
  parse(statement: { text: string; name: string; types: readonly number[] }): void;
  describe(portal: { type: 'P'; name: string }): void;
  execute(portal: { portal: string; rows: number }): void;
  sync(): void;
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
  sendCopyFail(reason: string): void;
}
