import type { ModuleDeclaration } from '#core/module/declaration.ts';
import type { ModuleInput } from '#core/module/module-runner.ts';
import type { EventPlace } from '#core/rules/event-place.ts';
import type { RowEvent } from '#core/rules/row-delta.ts';
import { pairOf } from '#core/rules/table-rules.ts';
import { momentText } from '#core/rules/values/moments.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, tableKey } from '#core/table-name.ts';

/** A change of a source table, as a module's function sees it: values that only the old image has are in the new one. */
export function moduleInput(
  declaration: ModuleDeclaration,
  source: TableStructure,
  event: RowEvent,
  at: EventPlace,
): ModuleInput {
  const { old, now } = pairOf(event);
  const { op, key } = event;
  return {
    table: declaration.sources.get(tableKey(source)) ?? formatTable(source),
    op,
    key,
    before: old,
    after: now,
    unchanged:
      now === null
        ? []
        : source.columns
            .filter(({ generated, name }) => !generated && !Object.hasOwn(now, name))
            .map(({ name }) => name),
    time: momentText(at.time ?? 0n, true),
  };
}
