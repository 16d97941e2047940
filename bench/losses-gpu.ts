/**
 * InfoNCE over very many pairs on a GPU, with its gradients and without an encoder, beside other implementations in the same
 * run: random representations of 768 numbers, cosine, scale 20.
 *
 *   npm run bench -- losses-gpu [--inf-cl FOLDER] [--quick] [--alone] [--write]     FOLDER: where the package inf_cl lies, unpacked
 *
 * `--quick` leaves out all that takes seconds, and `--alone` the others. A row that would take minutes is told from one of fewer pairs, by the number of
 * scores, and marked. What to expect of an H200: test/cuda/similarity.py.
 */
import { parseArgs } from 'node:util';
import {
  call,
  emptyCache,
  infoNCE,
  matryoshka,
  memory,
  resetPeakMemory,
  synchronize,
  tidy,
  withSeed,
  type Tensor,
} from '../lib/index.js';
import { PythonServer } from '../test/oracle/python.js';
import { gpuName, table, writeResults } from './support/results.js';

const DEVICE = 'cuda';
const DIMENSION = 768;
/** Of Matryoshka. */
const LENGTHS = [768, 512, 256, 128, 64];
const GIB = 2 ** 30;

interface Measured {
  readonly pairs: number;
  readonly both: boolean;
  readonly who: string;
  readonly how: string;
  readonly seconds: number;
  /** Bytes beyond representations and gradients; null where it was not measured. */
  readonly beyond: number | null;
  /** The number of pairs that the seconds are told from. */
  readonly from?: number;
}

interface Size {
  readonly pairs: number;
  readonly both: boolean;
  readonly times: number;
}

async function ours(
  { pairs, both, times }: Size,
  precision: 'fast' | 'exact',
  lengths?: readonly number[],
): Promise<Measured> {
  const towers = tidy(() =>
    withSeed(1, () => {
      const drawn = (): Tensor => call('aten::randn', [pairs, DIMENSION], { device: DEVICE });
      const [anchors, noise] = [drawn(), drawn()];
      call('aten::mul_.Scalar', noise, 2);
      call('aten::add_.Tensor', noise, anchors);
      return [anchors, noise];
    }),
  );
  const whole = infoNCE({ symmetric: both, precision });
  const loss = lengths === undefined ? whole : matryoshka(whole, { dimensions: [...lengths] });
  const how = lengths === undefined ? precision : `${precision}, Matryoshka of ${lengths.length} lengths`;
  let best = Infinity;
  let beyond = 0;
  emptyCache(DEVICE);
  for (let k = 0; k <= times; k++) {
    resetPeakMemory(DEVICE);
    const before = memory(DEVICE).allocated;
    await synchronize(DEVICE);
    const start = performance.now();
    const { gradients } = await loss.compute(towers, 1, {});
    await synchronize(DEVICE);
    const seconds = (performance.now() - start) / 1000;
    if (k > 0 || times === 0) best = Math.min(best, seconds);
    beyond = memory(DEVICE).peak - before - 2 * pairs * DIMENSION * 4;
    for (const gradient of gradients) gradient?.dispose();
  }
  for (const tower of towers) tower.dispose();
  emptyCache(DEVICE);
  return told({ pairs, both, who: 'gradcache', how, seconds: best, beyond });
}

function told(measured: Measured): Measured {
  const { pairs, both, who, how, seconds, beyond, from } = measured;
  const memory = beyond === null ? '' : `, ${(beyond / GIB).toFixed(2)} GiB`;
  const source = from === undefined ? '' : ` (from ${from})`;
  process.stderr.write(
    `${pairs} ${both ? 'both' : 'one'} ${who} ${how}: ${seconds.toFixed(4)} s${memory}${source}\n`,
  );
  return measured;
}

/** By the number of scores. */
const toldFor = (pairs: number, measured: Measured): Measured =>
  told({
    ...measured,
    pairs,
    from: measured.from ?? measured.pairs,
    seconds: measured.seconds * (pairs / measured.pairs) ** 2,
    beyond: null,
  });

class Peers {
  readonly #server: PythonServer;

  constructor(infCL: string | undefined) {
    this.#server = new PythonServer(
      'bench/peers_losses_gpu.py',
      infCL === undefined ? {} : { INF_CL: infCL },
    );
  }

  async hello(): Promise<{ versions: Record<string, string | null>; peers: string[] }> {
    return (await this.#server.ask({ do: 'hello' })) as { versions: Record<string, string>; peers: string[] };
  }

  /** Null where it cannot be done: out of memory, say. */
  async step(size: Size, peer: string, precision: string, rows: number): Promise<Measured | null> {
    const { pairs, both, times } = size;
    const request = { do: 'step', peer, pairs, dimension: DIMENSION, both, rows, precision, times };
    const answer = (await this.#server.ask(request)) as { seconds: number; beyond: number; error?: string };
    if (answer.error !== undefined) {
      process.stderr.write(`${pairs} ${peer} ${precision} ${rows}: ${answer.error}\n`);
      return null;
    }
    const how = rows > 0 ? `${precision}, ${rows} anchors at a time` : precision;
    return told({ pairs, both, who: peer, how, ...answer });
  }

  close(): void {
    this.#server.close();
  }
}

const fastest = (all: readonly (Measured | null)[]): Measured | null =>
  all.reduce(
    (best, each) => (each !== null && (best === null || each.seconds < best.seconds) ? each : best),
    null,
  );

async function rivals(peers: Peers, present: readonly string[], quick: boolean): Promise<Measured[]> {
  const found: (Measured | null)[] = [];
  if (present.includes('torch'))
    for (const both of [false, true])
      found.push(await peers.step({ pairs: 32_768, both, times: 1 }, 'torch', 'float32', 0));
  if (present.includes('sentence-transformers')) {
    for (const precision of ['bfloat16', 'float32']) {
      const tried = [];
      for (const rows of [512, 2048, 8192])
        tried.push(
          await peers.step(
            { pairs: 65_536, both: false, times: 1 },
            'sentence-transformers',
            precision,
            rows,
          ),
        );
      const best = fastest(tried);
      if (best === null) continue;
      const rows = Number(/(\d+) anchors/.exec(best.how)![1]);
      const both = await peers.step(
        { pairs: 65_536, both: true, times: 1 },
        'sentence-transformers',
        precision,
        rows,
      );
      const larger =
        quick || precision === 'float32'
          ? null
          : await peers.step(
              { pairs: 262_144, both: false, times: 0 },
              'sentence-transformers',
              precision,
              rows,
            );
      found.push(best, both, larger ?? toldFor(262_144, best));
      found.push(toldFor(1_048_576, larger ?? best), both && toldFor(1_048_576, both));
    }
  }
  if (present.includes('inf-cl'))
    for (const both of [false, true]) {
      const small = await peers.step({ pairs: 65_536, both, times: 1 }, 'inf-cl', 'tf32', 0);
      if (small !== null) found.push(small, toldFor(262_144, small), toldFor(1_048_576, small));
    }
  return found.filter((each) => each !== null);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      'inf-cl': { type: 'string' },
      quick: { type: 'boolean', default: false },
      alone: { type: 'boolean', default: false },
      write: { type: 'boolean', default: false },
    },
  });
  const all: Measured[] = [];
  for (const both of [false, true]) {
    all.push(await ours({ pairs: 65_536, both, times: 4 }, 'fast'));
    all.push(await ours({ pairs: 65_536, both, times: 2 }, 'exact'));
    all.push(await ours({ pairs: 262_144, both, times: 2 }, 'fast'));
    all.push(await ours({ pairs: 262_144, both, times: 0 }, 'exact'));
    all.push(await ours({ pairs: 65_536, both, times: 2 }, 'fast', LENGTHS));
    all.push(await ours({ pairs: 262_144, both, times: 1 }, 'fast', LENGTHS));
    if (values.quick) continue;
    all.push(await ours({ pairs: 1_048_576, both, times: 0 }, 'fast'));
  }
  if (values.alone) return;
  const peers = new Peers(values['inf-cl']);
  let versions: Record<string, string | null>;
  try {
    const made = await peers.hello();
    versions = made.versions;
    all.push(...(await rivals(peers, made.peers, values.quick)));
  } finally {
    peers.close();
  }

  const fast = (pairs: number, both: boolean) =>
    all.find(
      (each) => each.who === 'gradcache' && each.how === 'fast' && each.pairs === pairs && each.both === both,
    );
  const rows = [...all]
    .sort((a, b) => a.pairs - b.pairs || Number(a.both) - Number(b.both) || a.seconds - b.seconds)
    .map(({ pairs, both, who, how, seconds, beyond, from }) => {
      const base = fast(pairs, both);
      return [
        pairs,
        both ? 'both' : 'one',
        who,
        how,
        seconds >= 10 ? seconds.toFixed(1) : seconds.toFixed(seconds >= 1 ? 2 : 3),
        from === undefined ? '' : `from ${from} pairs`,
        base === undefined ? '' : (seconds / base.seconds).toFixed(2),
        Math.round((8 * pairs * pairs * DIMENSION) / seconds / 1e12),
        beyond === null ? '' : (beyond / GIB).toFixed(2),
      ];
    });
  const known = Object.entries(versions).map(([name, version]) => `${name} ${version ?? 'not there'}`);
  const body = [
    `Loss and all gradients, dimension ${DIMENSION}, cosine, scale 20, representations in float32 on the card; the best of a few ` +
      'calls, one call where it takes seconds. Rates count four products, 8 N² d operations. Memory is the most beyond ' +
      `representations and gradients. ${known.join(', ')}.`,
    table(['pairs', 'directions', '', '', 'seconds', '', 'of gradcache fast', 'TFLOP/s', 'GiB'], rows),
  ].join('\n\n');
  console.log(body);
  const place = `${new Date().toISOString().slice(0, 10)}, ${gpuName()}`;
  if (values.write) writeResults('Losses on a GPU', 'npm run bench -- losses-gpu --write', body, place);
}

await main();
