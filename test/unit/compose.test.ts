import { readFileSync } from 'node:fs';
import { Ajv } from 'ajv';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { loadConfig } from '#core/config-load.ts';
import { COMPOSE_SCHEMA } from './compose-schema.ts';

interface Service {
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly depends_on?: Readonly<Record<string, { condition: string }>>;
  readonly healthcheck?: unknown;
  readonly volumes?: readonly string[];
}

interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, null>>;
}

const CONFIG = 'infra/docker/restage.yaml';
const ROOT = new URL('../../', import.meta.url);
const document: unknown = parse(read('docker-compose.yml'), { merge: true });
const compose = document as Compose;

test('it is what the Compose Specification allows', () => {
  const validate = new Ajv({ allowUnionTypes: true, allErrors: true }).compile(COMPOSE_SCHEMA);
  validate(document);
  expect(validate.errors ?? []).toEqual([]);
});

test('every dependency is a service that can become healthy, every volume is declared', () => {
  for (const service of Object.values(compose.services)) {
    for (const name of Object.keys(service.depends_on ?? {}))
      expect(compose.services[name]?.healthcheck, name).toBeDefined();
    for (const volume of service.volumes ?? []) expect(Object.keys(compose.volumes)).toContain(volume.split(':')[0]);
  }
});

test.each(['producer', 'transformer', 'sink'])('%s runs on a configuration that loads with its environment', (name) => {
  const service = compose.services[name];
  expect(service?.command?.slice(0, 3)).toEqual([name, '-c', CONFIG]);
  const env = Object.fromEntries(
    Object.entries(service?.environment ?? {}).map(([key, value]) => [key, withDefaults(value)]),
  );
  const config = loadConfig(read(CONFIG), CONFIG, env);
  const hosts = [
    ...config.kafka.brokers,
    new URL(config.source.url).host,
    ...config.targets.map((target) => new URL(target.url).host),
  ];
  for (const host of hosts) expect(Object.keys(compose.services)).toContain(host.split(':')[0]);
  expect(config.http).toEqual({ host: '0.0.0.0', port: 8080 });
  if (name === 'sink') expect(config.targets.map((target) => target.name)).toContain(service?.command?.at(-1));
});

test('the image runs as a user without rights', () => {
  expect(read('infra/docker/Dockerfile')).toMatch(/^USER 1000:1000$/m);
});

/** `${VAR:-default}` as Compose would fill it in where VAR is not set. */
function withDefaults(value: string): string {
  return value.replaceAll(/\$\{\w+:-([^}]*)\}/g, '$1');
}

function read(path: string): string {
  return readFileSync(new URL(path, ROOT), 'utf8');
}
