import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import type { Tensor } from '../../lib/index.js';
import { backward, call, callAsync, devices, noGrad, synchronize } from '../../lib/index.js';
import { device } from './support.js';

const onCpu = device === 'cpu' && 'it needs a GPU';
const gpus = onCpu ? [] : devices().filter((name) => name.startsWith('cuda'));
/** Two devices each: a GPU and the CPU both ways round, and two GPUs where there are two. */
const pairs = onCpu
  ? [['cpu', 'cpu'] as const]
  : [
      ['cpu', gpus[0]!] as const,
      [gpus[0]!, 'cpu'] as const,
      ...(gpus[1] ? [[gpus[0]!, gpus[1]] as const] : []),
    ];

const filled = (shape: readonly number[], value: number, on: string): Tensor =>
  noGrad(() => call('aten::full', [...shape], value, { dtype: 'float32', device: on }));

/** Work that keeps the engine of a device busy for at least some tenths of a second. */
async function longWork(on: string): Promise<void> {
  const [size, times] = on === 'cpu' ? [1024, 40] : [8192, 40];
  const matrix = filled([size, size], 1e-6, on);
  const products = Array.from({ length: times }, () => callAsync('aten::mm', matrix, matrix));
  const end = synchronize(on);
  for (const product of products) (await product).dispose();
  await end;
  matrix.dispose();
}

for (const [busy, free] of pairs.filter(([first, second]) => first !== second)) {
  test(`while ${busy} is at work, a job of ${free} is done`, async () => {
    const small = filled([4], 2, free);
    (await callAsync('aten::mul.Tensor', small, small)).dispose(); // what a device does once is done
    const order: string[] = [];
    const long = longWork(busy).then(() => order.push('long'));
    const product = await callAsync('aten::mul.Tensor', small, small);
    assert.deepEqual(Array.from((await product.values()) as Float32Array), [4, 4, 4, 4]);
    order.push('short');
    await long;
    assert.deepEqual(order, ['short', 'long']);
  });
}

for (const [first, second] of pairs) {
  test(`a copy from ${first} to ${second} is of the values between the jobs before and behind it`, async () => {
    const length = 1 << 16;
    const [source, target] = [filled([length], 0, first), filled([length], 0, second)];
    const one = filled([1], 1, first);
    const reads: Promise<ArrayLike<number | bigint>>[] = [];
    const done: Promise<Tensor>[] = [];
    for (let round = 0; round < 50; round++) {
      for (let k = 0; k < 20; k++) done.push(callAsync('aten::add_.Tensor', source, one));
      done.push(callAsync('aten::copy_', target, source));
      reads.push(target.values());
    }
    for (const [round, read] of reads.entries()) {
      const values = await read;
      assert.equal(values[0], 20 * (round + 1));
      assert.equal(values[length - 1], 20 * (round + 1));
    }
    for (const tensor of await Promise.all(done)) tensor.dispose();
  });

  test(`a backward through ${first} and ${second} waits for both, and work behind it for its end`, async () => {
    const weight = filled([3], 2, first);
    weight.requiresGrad = true;
    const root = weight.to({ device: second }).mul(3).sum();
    const order: string[] = [];
    const note = (name: string) => () => void order.push(name);
    const all = [
      longWork(first).then(note('before')),
      backward([root], [null]).then(note('backward')),
      callAsync('aten::add.Tensor', filled([1], 1, first), filled([1], 1, first)).then(note('first')),
      callAsync('aten::add.Tensor', filled([1], 1, second), filled([1], 1, second)).then(note('second')),
    ];
    assert.throws(() => weight.grad, { code: 'INPUT', message: /backward is adding/ });
    await Promise.all(all);
    assert.deepEqual(order.slice(0, 2), ['before', 'backward']);
    assert.deepEqual(Array.from((await weight.grad!.values()) as Float32Array), [3, 3, 3]);
  });
}

test('the end of the program waits for the engines of all devices', { skip: onCpu }, () => {
  const program = `
    import { call, callAsync } from ${JSON.stringify(new URL('../../lib/index.js', import.meta.url).href)};
    for (const device of ${JSON.stringify(['cpu', ...gpus])}) {
      const matrix = call('aten::ones', [2048, 2048], { dtype: 'float32', device });
      for (let k = 0; k < 50; k++) callAsync('aten::mm', matrix, matrix).catch(() => undefined);
    }
    setTimeout(() => process.exit(7), 50);`;
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    timeout: 120_000,
  });
  assert.equal(status, 7, stderr);
});
