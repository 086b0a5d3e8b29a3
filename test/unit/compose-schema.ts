const text = { type: 'string' } as const;
const words = { type: 'array', items: text } as const;
const textMap = { type: 'object', additionalProperties: { type: ['string', 'null'] } } as const;

const service = {
  type: 'object',
  additionalProperties: false,
  anyOf: [{ required: ['image'] }, { required: ['build'] }],
  properties: {
    image: text,
    build: {
      type: 'object',
      required: ['context'],
      additionalProperties: false,
      properties: { context: text, dockerfile: text, target: text },
    },
    command: words,
    environment: textMap,
    ports: { type: 'array', items: { type: 'string', pattern: '^127\\.0\\.0\\.1:\\d+:\\d+$' } },
    volumes: { type: 'array', items: { type: 'string', pattern: '^[a-z-]+:/' } },
    restart: { enum: ['no', 'always', 'on-failure', 'unless-stopped'] },
    stop_grace_period: { type: 'string', pattern: '^\\d+s$' },
    depends_on: {
      type: 'object',
      additionalProperties: {
        type: 'object',
        required: ['condition'],
        additionalProperties: false,
        properties: { condition: { enum: ['service_started', 'service_healthy', 'service_completed_successfully'] } },
      },
    },
    healthcheck: {
      type: 'object',
      required: ['test'],
      additionalProperties: false,
      properties: { test: words, interval: text, timeout: text, retries: { type: 'integer' } },
    },
  },
} as const;

/** The part of the Compose Specification that docker-compose.yml uses; anything else in it is a slip of the pen. */
export const COMPOSE_SCHEMA = {
  type: 'object',
  required: ['services'],
  additionalProperties: false,
  patternProperties: { '^x-': {} },
  properties: {
    name: text,
    services: { type: 'object', additionalProperties: service },
    volumes: { type: 'object', additionalProperties: { type: 'null' } },
  },
} as const;
