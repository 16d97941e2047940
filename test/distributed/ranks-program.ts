/**
 * What ranks do together: `node ranks-program.js NAME`, started by ranks.test.ts as several ranks. `all` runs those after which the
 * ranks go on, and then some after which they meet anew.
 */
import { argv } from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { GradCacheError, Ranks, search, type Ranking, Tensor } from '../../lib/index.js';
import { sharedSearch } from '../../lib/evaluation/shared-search.js';

/** Those after which the ranks go on, and one after which they do not. */
const IN_TURN = [
  ...['broadcast', 'other parameters', 'agree', 'one fails', 'one fails, then all go on', 'used in agree'],
  'search',
  'used after close',
];

/** Those after which the ranks do not work together any more: each time they meet anew, at a port of its own. */
const BREAKING = ['unequal numbers of steps', 'other calls', 'a mistake outside'];

const failureOf = (error: unknown): unknown => {
  const { code, message } = error as { code?: unknown; message: string };
  return { code, message };
};

async function all(ranks: Ranks): Promise<Record<string, unknown>> {
  const told: Record<string, unknown> = {};
  for (const name of IN_TURN) told[name] = (await PROGRAMS[name]!(ranks).catch(failureOf)) ?? 'fine';
  const ports = process.env.PORTS!.split(',');
  for (const [place, name] of BREAKING.entries()) {
    process.env.MASTER_PORT = ports[place];
    told[name] = await alone(name);
  }
  // Each at a port of its own, where nobody else comes.
  process.env.MASTER_PORT = ports[BREAKING.length + ranks.rank];
  told.nobody = await alone('numbers', 2);
  return told;
}

/** Joins the others for one program, and leaves them. */
async function alone(name: string, timeout = patience): Promise<unknown> {
  let ranks: Ranks | null = null;
  try {
    ranks = await Ranks.join({ timeout, device: process.env.DEVICE ?? 'cpu' });
    return (ranks === null ? 'alone' : await (PROGRAMS[name] ?? all)(ranks)) ?? 'fine';
  } catch (error) {
    ranks?.fail(error);
    return failureOf(error);
  } finally {
    await ranks?.close().catch(() => undefined);
  }
}

const patience = Number(process.env.TIMEOUT ?? 30);

const PROGRAMS: Readonly<Record<string, (ranks: Ranks) => Promise<unknown>>> = {
  numbers: async (ranks) => {
    const { rank, size, localRank, device } = ranks;
    const own = Array.from({ length: rank === 1 ? 40 : 2 }, (_, k) => (k === 0 ? NaN : rank + k / 3));
    const all = await ranks.numbers(own);
    const bytes = await ranks.bytes('sending words', new TextEncoder().encode('ä'.repeat(rank * 50)));
    return { rank, size, localRank, device, all: all.map(String), bytes: bytes.map(({ length }) => length) };
  },
  broadcast: async (ranks) => {
    const values = Array.from({ length: 6 }, (_, k) => 10 * ranks.rank + k);
    const tensor = Tensor.from(values, { shape: [2, 3] });
    const turned = Tensor.from(values, { shape: [2, 3], dtype: 'bfloat16' }).transpose(0, 1);
    const parameters = [tensor, turned].map((each, k) => ({ name: `p${k}`, tensor: each, decay: false }));
    await ranks.broadcast(parameters);
    return [String(await tensor.values()), String(await turned.values())];
  },
  'other parameters': (ranks) =>
    ranks.broadcast([{ name: 'p', tensor: Tensor.from(new Float32Array(2 + ranks.rank)), decay: false }]),
  agree: (ranks) => ranks.agree('counting', async () => ranks.rank),
  'one fails': (ranks) =>
    ranks.agree('reading', () => {
      if (ranks.rank === 1) throw new GradCacheError('CHECKPOINT', 'model.safetensors is cut off');
    }),
  'one fails, then all go on': async (ranks) => {
    const first = await ranks
      .agree('reading', async () => {
        if (ranks.rank === 1) throw new TypeError('no function');
      })
      .catch((error: unknown) => String(error));
    return [first, await ranks.numbers([ranks.rank])];
  },
  search: async (ranks) => {
    const rows = (count: number, seed: number): Tensor =>
      Tensor.from(
        Array.from({ length: count * 4 }, (_, k) => Math.sin(seed + k)),
        { shape: [count, 4] },
      );
    const numbers = ({ k, documents, scores }: Ranking) => [k, ...documents, ...scores];
    const blocks = () => [rows(6, 1), rows(1, 9), rows(5, 30)];
    const equal: boolean[] = [];
    for (const count of [5, 1]) {
      const [queries, options] = [rows(count, 70), { k: 3, tile: { queries: 2, documents: 4 } }];
      const alone = numbers(await search(queries, blocks(), options));
      equal.push(String(numbers(await sharedSearch(ranks, queries, blocks(), options))) === String(alone));
    }
    // Only the last rank searches for the last query.
    const broken = Tensor.from([1, 0, 0, 0, NaN, 0, 0, 0], { shape: [2, 4] });
    const failure = await sharedSearch(ranks, broken, blocks(), { k: 3 }).catch(failureOf);
    return { equal, failure, after: await ranks.numbers([ranks.rank]) };
  },
  'a long work of one': async (ranks) =>
    ranks.agree('evaluating', async () => {
      if (ranks.rank === 0) await sleep(1400 * patience);
    }),
  'unequal numbers of steps': async (ranks) => {
    await ranks.numbers([1]);
    if (ranks.rank === 0) await ranks.numbers([2]);
  },
  'other calls': (ranks) => (ranks.rank === 0 ? ranks.numbers([1]) : ranks.agree('saving', () => 1)),
  'a mistake outside': async (ranks) => {
    if (ranks.rank === 1) throw new GradCacheError('INPUT', 'data.jsonl, line 77: no JSON');
    await sleep(300);
    await ranks.numbers([1]);
  },
  'used in agree': (ranks) => ranks.agree('counting', () => ranks.numbers([1])),
  'used after close': async (ranks) => {
    await ranks.close();
    await ranks.numbers([1]);
  },
  wait: async (ranks) => {
    console.log(JSON.stringify(await PROGRAMS.numbers!(ranks)));
    console.log('joined');
    if (ranks.rank === 1) await sleep(600_000);
    await ranks.numbers([1]);
  },
  'exit while it waits': async (ranks) => {
    if (ranks.rank === 1) await sleep(3000); // the other ends before
    setTimeout(() => process.exit(7), 300);
    await ranks.numbers([1]);
  },
};

console.log(JSON.stringify(await alone(argv[2]!)));
