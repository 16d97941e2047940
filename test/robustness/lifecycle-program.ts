/**
 * Ends of processes and threads at bad moments: a program of its own for each, started by lifecycle.test.ts.
 *
 *   node lifecycle-program.js NAME
 */
import { argv } from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import {
  AdamW,
  call,
  GradCache,
  infoNCE,
  memory,
  ModuleEncoder,
  Tensor,
  tidy,
  withSeed,
} from '../../lib/index.js';
import { collectGarbage } from '../collect-garbage.js';
import { tokens, textEncoder } from '../exactness/support.js';

/** A step that takes long enough to be met in its middle. */
async function longStep(onPhase: (phase: string) => void = () => undefined): Promise<number> {
  const encoder = await textEncoder('float32', { dropout: 0.1 });
  const lengths = Array.from({ length: 3000 }, (_, k) => 1 + (k % 40));
  const gradcache = new GradCache({
    encoders: [encoder, encoder],
    loss: infoNCE(),
    chunk: { sequences: 16 },
  });
  const { loss } = await gradcache.step([tokens(lengths, 1), tokens(lengths, 2)], {
    onProgress: ({ phase, chunk }) => {
      if (chunk <= 3) onPhase(phase);
    },
  });
  return loss;
}

async function shortStep(): Promise<number> {
  const encoder = await textEncoder('float32', { dropout: 0.1 });
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss: infoNCE(), chunk: { sequences: 3 } });
  const lengths = [3, 17, 1, 8, 8, 2, 12, 5, 9, 4];
  const { loss } = await gradcache.step([tokens(lengths, 1), tokens(lengths, 2)]);
  await new AdamW(encoder.parameters(), { lr: 1e-3 }).step();
  return loss;
}

const inWorker = (name: string): Worker => new Worker(new URL(import.meta.url), { workerData: name });

/** Resolves when the worker has said `word`. */
const said = (worker: Worker, word: string) =>
  new Promise<void>((resolve, reject) => {
    worker.on('message', (message) => {
      if (message === word) resolve();
    });
    worker.once('error', reject);
    worker.once('exit', () => reject(new Error(`the worker ended before it said ${word}`)));
  });

const ended = (worker: Worker) => new Promise<number>((resolve) => worker.once('exit', resolve));

const report = (phase: string): void => parentPort?.postMessage(phase);

/** What a worker does, by the name that it was given. */
const workers: Record<string, () => Promise<unknown>> = {
  long: () => longStep(report),
  short: async () => report(`loss ${await shortStep()}`),
  waitForever: async () => {
    void longStep(report);
    await new Promise(() => undefined);
  },
  exit: async () => {
    void longStep((phase) => {
      if (phase === 'backward') process.exit(7);
    });
  },
  busy: async () => {
    report('forward');
    for (;;)
      tidy(() =>
        withSeed(1, () => call('aten::mm', call('aten::ones', [64, 64]), call('aten::ones', [64, 64]))),
      );
  },
  throws: async () => {
    void longStep((phase) => {
      if (phase === 'backward') throw new Error('in the middle of it');
    });
  },
  module: async () => {
    const weight = Tensor.from([0.5, -1, 2, 1], { shape: [2, 2] });
    weight.requiresGrad = true;
    let calls = 0;
    const encoder = new ModuleEncoder({
      forward: (input: Tensor) => {
        if (++calls > 3) report('forward');
        return input.linear(weight).dropout(0.1);
      },
      parameters: () => [{ name: 'weight', tensor: weight, decay: true }],
    });
    const gradcache = new GradCache({
      encoders: [encoder, encoder],
      loss: infoNCE(),
      chunk: { sequences: 1 },
    });
    const input = () => call('aten::ones', [20_000, 2]);
    await gradcache.step([input(), input()]);
  },
};

async function terminated(name: string, word: string, rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    const worker = inWorker(name);
    await said(worker, word);
    await sleep(round * 5);
    await worker.terminate();
  }
  console.log(await shortStep());
}

const programs: Record<string, () => Promise<unknown>> = {
  'exit in the middle': async () => {
    void longStep((phase) => {
      if (phase === 'backward') process.exit(3);
    });
  },
  'exit while work is queued': async () => {
    const encoder = await textEncoder('float32');
    const lengths = Array.from({ length: 500 }, () => 40);
    for (let k = 0; k < 20; k++) {
      const gradcache = new GradCache({
        encoders: [encoder, encoder],
        loss: infoNCE(),
        chunk: { sequences: 16 },
      });
      gradcache.step([tokens(lengths, k), tokens(lengths, k + 100)]).catch(() => undefined);
    }
    setImmediate(() => process.exit(4));
  },
  'an exception that nobody catches': async () => {
    void longStep((phase) => {
      if (phase === 'backward')
        setImmediate(() => {
          throw new Error('nobody catches this');
        });
    });
  },
  'the end of the program with tensors alive': async () => {
    (globalThis as { kept?: unknown }).kept = [
      Tensor.from([1, 2]),
      await textEncoder('float32'),
      infoNCE({ temperature: { initial: 0.1, learned: true } }),
    ];
    await shortStep();
  },
  'an awaited step keeps the program alive': async () => {
    console.log(await longStep());
  },
  'an idle engine does not keep the program alive': async () => {
    await shortStep();
    console.log('idle');
  },
  'terminate in the first pass': () => terminated('waitForever', 'forward', 4),
  'terminate in the second pass': () => terminated('waitForever', 'backward', 4),
  'terminate while JavaScript runs inside native code': () => terminated('busy', 'forward', 4),
  "terminate inside an encoder of one's own": () => terminated('module', 'forward', 4),
  'a worker that exits in the middle': async () => {
    console.log('code', await ended(inWorker('exit')), await shortStep());
  },
  'a worker that throws in the middle': async () => {
    const worker = inWorker('throws');
    const error = await new Promise<Error>((resolve) => worker.once('error', resolve));
    console.log(error.message, await shortStep());
  },
  'exit while workers are in a step': async () => {
    const all = [inWorker('waitForever'), inWorker('waitForever'), inWorker('module')];
    await Promise.all(all.map((worker) => said(worker, 'forward')));
    void longStep((phase) => {
      if (phase === 'loss') process.exit(5);
    });
  },
  'many workers at once': async () => {
    const losses: string[] = [];
    const all = Array.from({ length: 8 }, () => {
      const worker = inWorker('short');
      worker.on('message', (message: string) => losses.push(message));
      worker.on('error', (error) => {
        throw error;
      });
      return ended(worker);
    });
    const [codes, here] = [await Promise.all(all), await shortStep()];
    if (codes.some((code) => code !== 0)) throw new Error(`exit codes ${codes.join()}`);
    if (losses.length !== 8 || losses.some((loss) => loss !== `loss ${here}`))
      throw new Error(`${losses.join()} for ${here}`);
    console.log('8 workers agree');
  },
  'memory comes back': async () => {
    await shortStep();
    const measure = async (rounds: number): Promise<number> => {
      for (let k = 0; k < rounds; k++) await shortStep();
      collectGarbage();
      await sleep(20);
      return memory().allocated;
    };
    await measure(100);
    const before = await measure(50);
    const after = await measure(150);
    console.log('grew', (after - before) / 2 ** 20);
    if (after - before > 12 * 2 ** 20)
      throw new Error(`resident memory grew by ${(after - before) / 2 ** 20} MiB in 150 steps`);
  },
};

if (isMainThread) await programs[argv[2]!]!();
else await workers[workerData as string]!();
