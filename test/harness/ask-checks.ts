import { loadConfig } from '#core/config-load.ts';
import { CHECKS } from '../../services/cli/check/check-command.ts';
import { withCheckContext } from '../../services/cli/check/check-context.ts';
import type { Finding } from '../../services/cli/check/finding.ts';

/** What a few of the checks find: an evidence each, or nothing. */
export async function ask(sourceUrl: string, targetUrl: string, ...ids: string[]): Promise<Record<string, Finding[]>> {
  const config = loadConfig(
    `name: servers
kafka: { brokers: ["127.0.0.1:1"] }
source: { postgres: { url: "${sourceUrl}" } }
transform: { outputs: [{ name: main }, { name: events, profile: debezium }] }
targets: [{ name: new, output: main, postgres: { url: "${targetUrl}" }, schema: copy }]
`,
    'servers.yaml',
    {},
  );
  return withCheckContext(config, async (context) => {
    const found: Record<string, Finding[]> = {};
    for (const id of ids) {
      const check = CHECKS.find((one) => one.id === id);
      if (check === undefined) throw new Error(`there is no check ${id}`);
      found[id] = await check.run(context);
    }
    return found;
  });
}
