import { randomUUID } from 'node:crypto';
import { mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { dataFolder } from '#infra/data-folder.ts';
import { ServerProcesses } from '#infra/processes.ts';
import { projectRoot } from '#infra/project-root.ts';
import { apicurioRegistry } from '#infra/providers/apicurio-registry.ts';
import { dockerKafka, dockerPostgres } from '#infra/providers/docker.ts';
import { embeddedPostgres } from '#infra/providers/embedded-postgres.ts';
import { givenKafka, givenPostgres } from '#infra/providers/given-addresses.ts';
import { javaKafka } from '#infra/providers/java-kafka.ts';
import { machinePostgres } from '#infra/providers/machine-postgres.ts';
import {
  chooseProvider,
  type KafkaServer,
  type PostgresServer,
  type Provider,
  type RegistryServer,
  type Say,
  type Server,
  type ServerOptions,
} from '#infra/providers/provider.ts';

export interface InfrastructureOptions {
  readonly say: Say;
  readonly env?: NodeJS.ProcessEnv;
  /** Default: a new folder in the data folder for each run, removed server by server. */
  readonly dir?: string;
  readonly durable?: boolean;
  readonly isBrief?: boolean;
  readonly isTemporary?: boolean;
  readonly outlivesUs?: boolean;
}

export interface PostgresChoice {
  readonly name: string;
  /** Only a server of this origin; default: whichever probe succeeds first. */
  readonly from?: 'machine' | 'embedded';
  /** Only this major version of the machine's. */
  readonly major?: number;
  readonly port?: number;
  /** Settings of a server that is started here, over the usual ones. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** Real Kafka, PostgreSQL and registry servers for a demonstration, a test run or development. */
export class Infrastructure {
  readonly processes: ServerProcesses;
  /** Where this run's servers keep their data. */
  readonly dir: string;
  readonly #options: InfrastructureOptions;
  readonly #root: string;
  readonly #folder: string;
  readonly #given: ReturnType<typeof givenPostgres>;
  readonly #servers: Server[] = [];

  private constructor(options: InfrastructureOptions, root: string, folder: string) {
    this.#options = options;
    this.#root = root;
    this.#folder = folder;
    this.#given = givenPostgres(options.env ?? process.env);
    this.processes = new ServerProcesses(join(folder, 'servers'));
    this.dir = options.dir ?? join(folder, `run-${process.pid}-${randomUUID().slice(0, 8)}`);
  }

  /** Ends what a killed run left, then is ready to start servers. */
  static async open(options: InfrastructureOptions): Promise<Infrastructure> {
    const root = projectRoot();
    const infrastructure = new Infrastructure(options, root, dataFolder(root));
    for (const name of await infrastructure.processes.cleanUp())
      options.say(`ended a server that an earlier run left: ${name}`);
    mkdirSync(infrastructure.dir, { recursive: true });
    return infrastructure;
  }

  async startPostgres(choice: PostgresChoice): Promise<PostgresServer> {
    const machine = machinePostgres(this.processes, choice.major);
    const embedded = embeddedPostgres(this.processes, this.#root, this.#folder);
    const providers = {
      any: [this.#given, machine, embedded, dockerPostgres()],
      machine: [machine],
      embedded: [embedded],
    }[choice.from ?? 'any'];
    return this.#start(`PostgreSQL ${choice.name}`, choice.name, providers, choice);
  }

  async startKafka(options: Pick<ServerOptions, 'port' | 'settings' | 'heapMegabytes'> = {}): Promise<KafkaServer> {
    const providers = [
      givenKafka(this.#options.env ?? process.env),
      javaKafka(this.processes, this.#root),
      dockerKafka(),
    ];
    return this.#start('Kafka', 'kafka', providers, options);
  }

  async startRegistry(port?: number): Promise<RegistryServer> {
    return this.#start(
      'schema registry',
      'registry',
      [apicurioRegistry(this.processes, this.#root)],
      port === undefined ? {} : { port },
    );
  }

  /** Stops every server, the newest first, and removes temporary data. */
  async stop(): Promise<void> {
    for (const server of this.#servers.toReversed()) await server.stop();
    this.#servers.length = 0;
    await this.processes.stopAll();
    this.#removeEmptyDir();
  }

  /** A run that started nothing, or whose servers took their data with them, leaves nothing. */
  #removeEmptyDir(): void {
    try {
      rmdirSync(this.dir);
    } catch {
      // Something is in it, or another did it.
    }
  }

  async #start<S extends Server>(
    what: string,
    name: string,
    providers: readonly Provider<S>[],
    asked: Pick<ServerOptions, 'port' | 'settings' | 'heapMegabytes'>,
  ): Promise<S> {
    const { say, durable = true, isBrief = !durable, isTemporary, outlivesUs } = this.#options;
    const provider = await chooseProvider(what, providers, say).catch((error: unknown) => {
      this.#removeEmptyDir();
      throw error;
    });
    const options: ServerOptions = {
      dir: join(this.dir, name),
      durable,
      isBrief,
      isTemporary: isTemporary ?? true,
      outlivesUs: outlivesUs ?? false,
      ...asked,
    };
    const server = await provider.start(options);
    this.#servers.push(server);
    return server;
  }
}
