import type { OptionReader } from '#core/option-reader.ts';
import { parsePlacements, type OutboxConfig } from '#core/outbox/outbox-config.ts';

/** null: the rule is not of an outbox table. */
export function readOutbox(reader: OptionReader, output: number, rule: number): OutboxConfig | null {
  const path = `transform.outputs[${output}].rules[${rule}]`;
  if (!reader.isGiven(`${path}.outbox`)) return null;
  for (const other of ['rename', 'columns', 'set', 'where', 'key', 'unnest', 'lookUp', 'state'])
    if (reader.isGiven(`${path}.${other}`) || reader.isGiven(`${path}.${other}[0]`))
      reader.report(
        'transform.outputs[].rules[].table',
        [output, rule],
        `outbox stands alone in its rule: ${other} belongs to another rule, which takes the table to the target too`,
      );
  const placement = reader.get('transform.outputs[].rules[].outbox.table.fields.additional.placement', output, rule);
  return {
    idField: reader.get('transform.outputs[].rules[].outbox.table.field.event.id', output, rule),
    keyField: reader.get('transform.outputs[].rules[].outbox.table.field.event.key', output, rule),
    payloadField: reader.get('transform.outputs[].rules[].outbox.table.field.event.payload', output, rule),
    routeField: reader.get('transform.outputs[].rules[].outbox.route.by.field', output, rule),
    topicRegex: reader.get('transform.outputs[].rules[].outbox.route.topic.regex', output, rule),
    topicReplacement: reader.get('transform.outputs[].rules[].outbox.route.topic.replacement', output, rule),
    placements: placement === null ? [] : (parsePlacements(placement) ?? []),
    tombstoneOnEmptyPayload: reader.get(
      'transform.outputs[].rules[].outbox.route.tombstone.on.empty.payload',
      output,
      rule,
    ),
    expandJson: reader.get('transform.outputs[].rules[].outbox.table.expand.json.payload', output, rule),
    invalidOp: reader.get('transform.outputs[].rules[].outbox.table.op.invalid.behavior', output, rule),
    maxTopics: reader.get('transform.outputs[].rules[].outbox.max.topics', output, rule),
  };
}
