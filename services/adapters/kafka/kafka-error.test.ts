import { ResponseError } from '@platformatic/kafka';
import { expect, it } from 'vitest';
import { kafkaError } from './kafka-error.ts';

const CREATE_TOPICS = 19;
const INVALID_REPLICATION_FACTOR = 38;

it.each([
  ['The target replication factor of 3 cannot be reached because only 1 broker(s) are registered.', 'config_invalid'],
  ['All brokers are currently fenced.', 'kafka_fault'],
])('of a topic that is not made it asks why: %s', (message, code) => {
  const answer = new ResponseError(CREATE_TOPICS, 7, { '/topics/0': [INVALID_REPLICATION_FACTOR, message] }, {});
  expect(kafkaError(answer, ['127.0.0.1:9092'])).toMatchObject({ code });
});
