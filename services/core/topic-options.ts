import * as z from 'zod';
import type { Option } from '#core/option-table.ts';

/** How topics are made. */
export const TOPIC_OPTIONS = [
  {
    path: 'kafka.topics.replicationFactor',
    type: z.number().int().min(1).max(15),
    default: 1,
    env: 'RESTAGE_KAFKA_REPLICATION_FACTOR',
    example: '3',
    about: 'Copies of each topic that Restage makes. Three for anything that may not be lost.',
  },
  {
    path: 'kafka.topics.partitions',
    type: z.number().int().min(1).max(1_000),
    default: 1,
    env: 'RESTAGE_KAFKA_PARTITIONS',
    example: '4',
    about:
      "Partitions of each table's topic, by the row's key. More than one is for readers that share the work. Never changes in a pipeline's life.",
  },
] as const satisfies readonly Option[];
