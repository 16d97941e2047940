/**
 * `gradcache serve` beside a server around sentence-transformers: the same model, requests and clients on the same machine in
 * the same run, one after the other in turns, so that a busy minute hits both.
 *
 *   npm run bench -- serve [--seconds 8] [--rounds 3] [--write]
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { Agent, request } from 'node:http';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { foundVersions, miniLM, projectRoot, pythonEnvironment } from '../test/oracle/python.js';
import { glosses } from './support/glosses.js';
import { table, writeResults } from './support/results.js';

/** A client sends a request, waits for its answer, and sends the next. */
interface Client {
  /** Texts of a request. */
  readonly texts: number;
  /** Glosses that are joined to one text. */
  readonly joined: number;
  /** Whether its times are counted. */
  readonly counted: boolean;
}

interface Load {
  readonly title: string;
  readonly about: string;
  readonly clients: readonly Client[];
}

const ONE: Client = { texts: 1, joined: 1, counted: true };

const LOADS: readonly Load[] = [
  {
    title: 'One client',
    about: 'one client, one WordNet gloss a request',
    clients: [ONE],
  },
  {
    title: 'Short texts',
    about: '16 clients at a time, one WordNet gloss a request',
    clients: new Array<Client>(16).fill(ONE),
  },
  {
    title: 'Short texts beside an index that is being filled',
    about:
      '8 clients with one gloss a request, whose times these are, and one that sends 64 texts of 12 glosses a request, one after the other',
    clients: [...new Array<Client>(8).fill(ONE), { texts: 64, joined: 12, counted: false }],
  },
];

interface Server {
  readonly name: string;
  readonly process: ChildProcess;
  readonly port: number;
}

/** What a load came to. */
interface Measured {
  /** Milliseconds of each counted request. */
  readonly times: number[];
  texts: number;
  seconds: number;
  /** Processor seconds of the server. */
  processor: number;
}

const texts = glosses(0);
const agent = new Agent({ keepAlive: true, maxSockets: Infinity });

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function start(
  name: string,
  program: string,
  args: (port: number) => readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<Server> {
  const port = await freePort();
  const child = spawn(program, args(port), { env, stdio: ['ignore', 'ignore', 'inherit'] });
  for (let tries = 0; tries < 600; tries++) {
    if (child.exitCode !== null) throw new Error(`${name} ended with ${child.exitCode}`);
    if ((await post(port, ['warm up']).catch(() => 0)) === 200) return { name, process: child, port };
    await wait(200);
  }
  throw new Error(`${name} does not answer`);
}

/** Sends texts and gives the status of the answer. */
function post(port: number, input: readonly string[]): Promise<number> {
  const body = JSON.stringify({ model: 'bench', input, encoding_format: 'base64' });
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        port,
        agent,
        method: 'POST',
        path: '/v1/embeddings',
        headers: { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) },
      },
      (response) => {
        response.resume().on('end', () => resolve(response.statusCode!));
      },
    );
    sent.on('error', reject).end(body);
  });
}

/** Processor seconds that a process has used: fields 14 and 15 of its stat, in hundredths. */
function processorSeconds({ pid }: ChildProcess): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function measure(server: Server, load: Load, seconds: number, into: Measured): Promise<void> {
  let next = 0;
  const take = (): string => texts[next++ % texts.length]!;
  const processor = processorSeconds(server.process);
  const started = performance.now();
  const end = started + 1000 * seconds;
  await Promise.all(
    load.clients.map(async ({ texts: count, joined, counted }) => {
      while (performance.now() < end) {
        const input = Array.from({ length: count }, () => Array.from({ length: joined }, take).join(' '));
        const began = performance.now();
        const status = await post(server.port, input);
        if (status !== 200) throw new Error(`${server.name} answers ${status}`);
        if (counted) into.times.push(performance.now() - began);
        into.texts += count;
      }
    }),
  );
  into.seconds += (performance.now() - started) / 1000;
  into.processor += processorSeconds(server.process) - processor;
}

function quantile(sorted: readonly number[], share: number): string {
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!.toFixed(1);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '8' },
      rounds: { type: 'string', default: '3' },
      write: { type: 'boolean', default: false },
    },
  });
  const [seconds, rounds] = [Number(values.seconds), Number(values.rounds)];
  const python = process.env.GRADCACHE_PYTHON || 'python3';
  const peer = join(projectRoot, 'bench', 'peers_serve.py');
  const main = join(projectRoot, 'dist', 'lib', 'cli', 'main.js');
  const ours = ['serve', '--model', miniLM, '--name', 'bench', '--device', 'cpu', '--truncate', '--port'];
  const environment = { ...pythonEnvironment(), OMP_WAIT_POLICY: 'passive' };
  const servers: Server[] = [];
  try {
    servers.push(
      await start('gradcache serve', process.execPath, (port) => [main, ...ours, `${port}`], environment),
    );
    for (const batch of [8, 32])
      servers.push(
        await start(
          `sentence-transformers, batches of ${batch}`,
          python,
          (port) => [peer, miniLM, '256', `${batch}`, `${port}`],
          environment,
        ),
      );
    const parts: string[] = [];
    const before = loadavg()[0]!.toFixed(1);
    for (const load of LOADS) {
      const found = new Map(
        servers.map((server) => [server, { times: [], texts: 0, seconds: 0, processor: 0 }]),
      );
      for (let round = 0; round < rounds; round++)
        for (const [server, measured] of found) await measure(server, load, seconds, measured);
      const rows = Array.from(found, ([{ name }, { times, texts, seconds, processor }]) => {
        const sorted = times.toSorted((a, b) => a - b);
        return [
          name,
          quantile(sorted, 0.5),
          quantile(sorted, 0.99),
          (texts / seconds).toFixed(0),
          ((1000 * processor) / texts).toFixed(2),
          (processor / seconds).toFixed(2),
        ];
      });
      const columns = ['', 'p50, ms', 'p99, ms', 'texts/s', 'processor ms a text', 'processors in use'];
      parts.push(`### ${load.title}\n\n${load.about}.\n\n${table(columns, rows)}`);
    }
    const { transformers, 'sentence-transformers': peers } = foundVersions();
    const body = [
      `all-MiniLM-L6-v2 in float32, answers in base64 of \`/v1/embeddings\`; the clients run on the same machine. ${rounds} rounds of ` +
        `${seconds} s for each server in turn. sentence-transformers ${peers}, transformers ${transformers}, under uvicorn, with what waits ` +
        `encoded in one call (bench/peers_serve.py). The load average of the machine was ${before} before and ${loadavg()[0]!.toFixed(1)} at the end: ` +
        'where it is far above the number of processors, other work slowed all of them, and the processor time tells more than the wall.',
      ...parts,
    ].join('\n\n');
    console.log(body);
    if (values.write)
      writeResults('Serving', `npm run bench -- serve --seconds ${seconds} --rounds ${rounds} --write`, body);
  } finally {
    for (const { process: child } of servers) child.kill('SIGKILL');
    agent.destroy();
  }
}

await main();
