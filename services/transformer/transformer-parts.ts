import type { OutputConfig } from '#core/config.ts';
import type { PauseGate } from '#core/control.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import type { EpochWriter, WrittenEntry } from '#core/epoch-writer.ts';
import type { LetterGate } from '#core/letter-command.ts';
import type { Logger } from '#core/log.ts';
import type { ControlEntry } from '#core/manifest.ts';
import type { ServiceStatus } from '#core/status.ts';
import type { TopicBatches } from '#core/topic-batches.ts';
import type { OpCounts } from './epoch-figures.ts';
import type { EventShaper } from './event-shaper.ts';
import type { OutputQuarantine } from './output-quarantine.ts';
import type { OutputRules } from './same-rules.ts';

/** What one attempt of a transformer needs; everything that talks to the outside is handed in. */
export interface TransformerParts {
  readonly output: OutputConfig;
  readonly shapedPrefix: string;
  readonly rawSchemasTopic: string;
  readonly reader: EpochReader;
  readonly writer: EpochWriter;
  /** A second reader of the same stream, for a look at the later parts of an epoch. */
  readonly ahead: EpochReader;
  readonly rules: OutputRules;
  readonly makeShaper: () => Promise<EventShaper>;
  /** After `writer.last`: what waits is as the last epoch left it. */
  readonly makeQuarantine: (shaper: EventShaper) => Promise<OutputQuarantine>;
  readonly ensureTopics: (topics: readonly string[]) => Promise<void>;
  /** Topics of others, which the pipeline does not stand on. */
  readonly ensureSideTopics: (topics: readonly string[]) => Promise<void>;
  readonly status: ServiceStatus;
  readonly gate: PauseGate;
  readonly letters: LetterGate;
  readonly logger: Logger;
  readonly clock: () => number;
}

/** What becomes of one raw manifest. */
export interface ShapedEpoch {
  readonly data: TopicBatches;
  readonly side: TopicBatches;
  readonly ops: OpCounts;
  readonly control: ControlEntry[];
}

/** A manifest to be written, and what of the transaction's records is its own. */
export interface ShapedEntry extends WrittenEntry {
  readonly ops: OpCounts;
}
