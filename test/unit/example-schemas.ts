/** What the examples may hold: the parts of GitHub's workflow syntax and of Kubernetes' API that they use, each key by its form. */
const text = { type: 'string', minLength: 1 } as const;
const textMap = { type: 'object', additionalProperties: text } as const;
const whole = { type: 'integer', minimum: 0 } as const;
const yes = { const: true } as const;

function strict(properties: object, required: readonly string[]): object {
  return { type: 'object', additionalProperties: false, properties, required };
}

const step = {
  ...strict(
    { name: text, uses: { type: 'string', pattern: '^[\\w-]+/[\\w-]+@v\\d+$' }, run: text, if: text, with: textMap },
    [],
  ),
  oneOf: [{ required: ['uses'] }, { required: ['run', 'name'] }],
};

const job = strict(
  {
    'runs-on': { type: 'array', items: text, minItems: 1 },
    'timeout-minutes': { type: 'integer', minimum: 1, maximum: 360 },
    container: strict({ image: text, options: text }, ['image']),
    services: {
      type: 'object',
      additionalProperties: strict({ image: text, env: textMap, options: text }, ['image']),
    },
    env: textMap,
    steps: { type: 'array', items: step, minItems: 1 },
  },
  ['runs-on', 'timeout-minutes', 'steps'],
);

export const WORKFLOW_SCHEMA = strict(
  {
    name: text,
    on: strict(
      {
        pull_request: strict({ paths: { type: 'array', items: text } }, []),
        schedule: {
          type: 'array',
          items: strict({ cron: { type: 'string', pattern: '^(\\S+ ){4}\\S+$' } }, ['cron']),
        },
        workflow_dispatch: { type: 'null' },
      },
      [],
    ),
    permissions: strict({ contents: { enum: ['read'] } }, ['contents']),
    concurrency: strict({ group: text, 'cancel-in-progress': { type: 'boolean' } }, ['group']),
    jobs: { type: 'object', additionalProperties: job, minProperties: 1 },
  },
  ['name', 'on', 'permissions', 'jobs'],
);

const quantity = { type: 'string', pattern: '^\\d+(\\.\\d+)?(m|Mi|Gi)?$' } as const;
const quantities = strict({ cpu: quantity, memory: quantity }, ['memory']);
const labels = strict({ 'app.kubernetes.io/name': text, 'app.kubernetes.io/component': text }, [
  'app.kubernetes.io/name',
]);

const container = strict(
  {
    name: { type: 'string', pattern: '^[a-z0-9-]{1,63}$' },
    image: text,
    args: { type: 'array', items: text, minItems: 1 },
    envFrom: { type: 'array', items: strict({ secretRef: strict({ name: text }, ['name']) }, ['secretRef']) },
    resources: strict({ requests: quantities, limits: quantities }, ['requests', 'limits']),
    securityContext: strict(
      {
        allowPrivilegeEscalation: { const: false },
        readOnlyRootFilesystem: yes,
        capabilities: strict({ drop: { const: ['ALL'] } }, ['drop']),
      },
      ['allowPrivilegeEscalation', 'readOnlyRootFilesystem', 'capabilities'],
    ),
    volumeMounts: {
      type: 'array',
      items: strict({ name: text, mountPath: { type: 'string', pattern: '^/' }, readOnly: yes }, ['name', 'mountPath']),
    },
  },
  ['name', 'image', 'args', 'resources', 'securityContext'],
);

const volume = {
  ...strict(
    {
      name: text,
      configMap: strict({ name: text }, ['name']),
      persistentVolumeClaim: strict({ claimName: text }, ['claimName']),
      emptyDir: { type: 'object' },
    },
    ['name'],
  ),
  oneOf: [{ required: ['configMap'] }, { required: ['persistentVolumeClaim'] }, { required: ['emptyDir'] }],
};

const pod = strict(
  {
    restartPolicy: { enum: ['Never', 'OnFailure'] },
    terminationGracePeriodSeconds: whole,
    automountServiceAccountToken: { const: false },
    securityContext: strict(
      {
        runAsNonRoot: yes,
        runAsUser: { type: 'integer', minimum: 1 },
        fsGroup: whole,
        seccompProfile: strict({ type: { const: 'RuntimeDefault' } }, ['type']),
      },
      ['runAsNonRoot'],
    ),
    containers: { type: 'array', items: container, minItems: 1 },
    volumes: { type: 'array', items: volume },
  },
  ['restartPolicy', 'containers'],
);

export const JOB_SCHEMA = strict(
  {
    apiVersion: { const: 'batch/v1' },
    kind: { const: 'Job' },
    metadata: {
      ...strict({ name: text, generateName: { type: 'string', pattern: '^[a-z0-9-]{1,57}$' }, labels }, []),
      oneOf: [{ required: ['name'] }, { required: ['generateName'] }],
    },
    spec: strict(
      {
        backoffLimit: whole,
        activeDeadlineSeconds: whole,
        ttlSecondsAfterFinished: whole,
        template: strict({ metadata: strict({ labels }, []), spec: pod }, ['spec']),
      },
      ['template'],
    ),
  },
  ['apiVersion', 'kind', 'metadata', 'spec'],
);
