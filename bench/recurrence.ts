/**
 * The recurrence of SRU on the CPU beside a loop over time in PyTorch and beside torch.nn.LSTM of the same width: forward
 * and backward, float32, in turn, so that a busy minute hits all of them.
 *
 *   npm run bench -- recurrence [--rounds 7] [--write]
 */
import { parseArgs } from 'node:util';
import type { Tensor } from '../lib/index.js';
import { backward, call, tidy } from '../lib/index.js';
import { PythonServer } from '../test/oracle/python.js';
import { median } from './support/median.js';
import { table, writeResults } from './support/results.js';

const { values: options } = parseArgs({
  options: { rounds: { type: 'string', default: '7' }, write: { type: 'boolean', default: false } },
});

const SHAPES = [
  { batch: 8, length: 256, width: 512 },
  { batch: 32, length: 64, width: 256 },
  { batch: 1, length: 512, width: 1024 },
] as const;

type Shape = (typeof SHAPES)[number];

interface Seconds {
  readonly forward: number;
  readonly backward: number;
}

const random = (shape: readonly number[], deviation = 1): Tensor => {
  const tensor = call<Tensor>('aten::randn', shape).mul(deviation).detach();
  tensor.requiresGrad = true;
  return tensor;
};

/** Our recurrence on rows that are there already, and our layer: those rows are a product of the inputs. */
function contenders({ batch, length, width }: Shape): Record<string, () => Promise<Seconds>> {
  const tokens = batch * length;
  const offsets = Array.from({ length: batch + 1 }, (_, s) => s * length);
  const [u, x] = [random([tokens, 3 * width]), random([tokens, width])];
  const matrix = random([3 * width, width], 1 / Math.sqrt(width));
  const [weights, bias] = [random([2, width]), random([2, width])];
  const gradient: Tensor = call('aten::ones', [tokens, width]);
  const timed = async (rows: () => Tensor): Promise<Seconds> => {
    const begin = performance.now();
    const [h, last] = tidy(() => call<[Tensor, Tensor]>('gradcache::sru', rows(), offsets, x, weights, bias));
    const middle = performance.now();
    await backward([h], [gradient]);
    const seconds = { forward: (middle - begin) / 1000, backward: (performance.now() - middle) / 1000 };
    for (const tensor of [h, last]) tensor.dispose();
    return seconds;
  };
  return {
    recurrence: () => timed(() => u),
    layer: () => timed(() => x.matmul(matrix.t())),
  };
}

const peers = new PythonServer('bench/peers_recurrence.py');
const rows: (string | number)[][] = [];
let versions = { torch: '', threads: 0, python: '' };
try {
  for (const shape of SHAPES) {
    versions = (await peers.ask({ do: 'open', ...shape })) as typeof versions;
    const ask = (what: string) => async () => (await peers.ask({ do: what })) as Seconds;
    const all = { ...contenders(shape), loop: ask('loop'), lstm: ask('lstm') };
    const seconds = new Map(Object.keys(all).map((name) => [name, [] as Seconds[]]));
    for (let round = 0; round <= Number(options.rounds); round++) {
      for (const [name, run] of Object.entries(all)) {
        const found = await run();
        if (round > 0) seconds.get(name)!.push(found);
      }
    }
    const times = (name: string) => {
      const forward = 1000 * median(seconds.get(name)!.map((s) => s.forward));
      const backwards = 1000 * median(seconds.get(name)!.map((s) => s.backward));
      return { forward, backward: backwards, both: forward + backwards };
    };
    const [ours, layer, loop, lstm] = [times('recurrence'), times('layer'), times('loop'), times('lstm')];
    for (const pass of ['forward', 'backward', 'both'] as const) {
      const numbers = [ours, layer, loop, lstm].map((time) => Number(time[pass].toFixed(2)));
      const ratios = [loop[pass] / ours[pass], lstm[pass] / layer[pass]].map((ratio) =>
        Number(ratio.toFixed(1)),
      );
      rows.push([`${shape.batch} x ${shape.length} x ${shape.width}`, pass, ...numbers, ...ratios]);
    }
  }
} finally {
  peers.close();
}
const body = [
  'Milliseconds, medians; batch x length x width. The layer is the recurrence and the product that its rows come from, as ' +
    "LSTM's time has its products in it. " +
    `Beside PyTorch ${versions.torch} (Python ${versions.python}, ${versions.threads} threads).`,
  table(
    ['shape', 'pass', 'recurrence', 'layer', 'loop over time', 'LSTM', 'loop / recurrence', 'LSTM / layer'],
    rows,
  ),
].join('\n\n');
console.log(body);
if (options.write) writeResults('The recurrence on the CPU', 'npm run bench -- recurrence', body);
