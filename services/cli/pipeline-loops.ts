import type { Config } from '#core/config.ts';
import type { ServiceLoop } from './service-command.ts';

/**
 * All services of a pipeline that loads no rows, for one process: loops with their leases, as services have them. It has no keeper, for
 * a baseline keeps no snapshot.
 */
export async function baselineLoops(config: Config): Promise<ServiceLoop[]> {
  const [producer, transformer, sink] = await Promise.all([
    import('../producer/main.ts'),
    import('../transformer/main.ts'),
    import('../sink/main.ts'),
  ]);
  const noKeeper = (): Promise<never> => Promise.reject(new Error('a baseline keeps no snapshot'));
  return [
    { service: 'producer', instance: '', main: (context) => producer.main(config, context, noKeeper) },
    ...config.outputs.map(({ name }) => ({
      service: 'transformer' as const,
      instance: name,
      main: transformer.main.bind(undefined, config, name),
    })),
    ...config.targets.map(({ name }) => ({
      service: 'sink' as const,
      instance: name,
      main: sink.main.bind(undefined, config, name),
    })),
  ];
}
