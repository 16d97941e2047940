import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AdamW, call, GradCache, infoNCE, Tensor, tidy, type Parameter } from '../../lib/index.js';
import { ParameterSet } from '../../lib/tensor/parameter-set.js';
import { tenTexts, textEncoder } from '../exactness/support.js';
import { fails } from '../robustness/failures.js';

function leaf(name: string, gradient?: readonly number[]): Parameter {
  const tensor = Tensor.from([1, 2]);
  tensor.requiresGrad = true;
  if (gradient !== undefined) tensor.grad = Tensor.from(gradient);
  return { name, tensor, decay: true };
}

const values = (tensor: Tensor | null) => (tensor === null ? null : [...tensor.valuesSync()]);

test('a tensor that several lists name is in a set once', () => {
  const [a, b] = [leaf('a'), leaf('b')];
  const set = new ParameterSet([a, b, { ...a, name: 'a again' }]);
  assert.deepEqual(
    set.list.map(({ name }) => name),
    ['a again', 'b'],
  );
});

test('of a step, an update and readers, each waits for or refuses those that it cannot run beside', async () => {
  const shared = leaf('shared');
  const first = new ParameterSet([leaf('a'), shared]);
  const second = new ParameterSet([shared, leaf('b')]);
  const refused = fails('INPUT', /await it/);
  const kinds = ['whileStepping', 'whileReading', 'whileUpdating'] as const;
  const outcome = async (running: (typeof kinds)[number], other: (typeof kinds)[number]) => {
    let end!: () => void;
    const ended = new Promise<void>((resolve) => (end = resolve));
    let over = false;
    const one = first[running](async () => {
      await ended;
      over = true;
    });
    const two = second[other](async () => Promise.resolve(over ? 'waits' : 'beside')).catch(
      (error: unknown) => {
        assert.ok(refused(error), String(error));
        return 'refused';
      },
    );
    await new Promise(setImmediate);
    end();
    await one;
    return await two;
  };
  const table = [];
  for (const running of kinds) for (const other of kinds) table.push(await outcome(running, other));
  assert.deepEqual(table, [
    ...['waits', 'beside', 'refused'], // while a step runs
    ...['beside', 'beside', 'refused'], // while something is saved
    ...['refused', 'refused', 'refused'], // while an optimizer updates
  ]);
  // Nothing is left behind, also by what fails.
  for (const kind of kinds) {
    await assert.rejects(
      first[kind](async () => Promise.reject(new Error('as if'))),
      /as if/,
    );
    assert.equal(await second.whileUpdating(async () => Promise.resolve('free')), 'free');
  }
});

test('a snapshot puts back gradients, zeros and the absence of a gradient, of one encoder all in one copy', async (t) => {
  const encoder = await textEncoder('float32');
  const buffer = encoder.gradients()[0]!;
  const none = leaf('none');
  const set = new ParameterSet([...encoder.parameters(), leaf('zero', [0, 0]), none, leaf('some', [3, 4])]);
  buffer.copyFrom(call('aten::ones_like', buffer));
  const copies = t.mock.method(Tensor.prototype, 'clone');
  const snapshot = await set.snapshot();
  assert.equal(copies.mock.callCount(), 2); // of the buffer and of `some`
  const before = set.list.map(({ tensor }) => values(tensor.grad));
  buffer.copyFrom(call('aten::zeros_like', buffer));
  none.tensor.grad = Tensor.from([5, 6]);
  for (const { tensor } of set.list.slice(-3)) tensor.grad!.copyFrom(Tensor.from([7, 8]));
  snapshot.restore();
  snapshot.dispose();
  assert.deepEqual(
    set.list.map(({ tensor }) => values(tensor.grad)),
    before,
  );
});

test('a step asks no parameter of an encoder for its gradient', async (t) => {
  const encoder = await textEncoder('float32');
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss: infoNCE(), chunk: { sequences: 3 } });
  const asked = t.mock.getter(Tensor.prototype, 'grad', () => null);
  await gradcache.step([tenTexts(1), tenTexts(2)]);
  assert.equal(asked.mock.callCount(), 0);
});

test('an update that is begun in a tidy block has its gradients until it ends', async () => {
  const parameter = leaf('weight', [1, 1]);
  const optimizer = new AdamW([parameter], { lr: 0.1, maxGradNorm: 1 });
  let update: Promise<unknown> | undefined;
  tidy(() => {
    update = optimizer.step();
  });
  await update;
  assert.notDeepEqual(values(parameter.tensor), [1, 2]);
});
