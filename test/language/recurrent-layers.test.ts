import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Tensor } from '../../lib/index.js';
import { call, LanguageModel, noGrad, tidy, withSeed, type NewLanguageModel } from '../../lib/index.js';
import { clear, device, gradients } from '../exactness/support.js';
import { cosine, relativeError, type Numbers } from '../oracle/compare.js';

// Values and gradients beside PyTorch's: in test/oracle/language.test.ts.

const ROWS = 3;
const COMMON = { vocabulary: 23, layers: 2, width: 8 };
const DROPOUT = { dropout: 0.3, wordDropout: 0.2, inputDropout: 0.2, outputDropout: 0.2 };

const CELLS: Readonly<Record<string, NewLanguageModel>> = {
  lstm: { ...COMMON, ...DROPOUT, cell: 'lstm', weightDropout: 0.3 },
  gru: { ...COMMON, ...DROPOUT, cell: 'gru', weightDropout: 0.3, sharedMasks: true },
  qrnn: { ...COMMON, ...DROPOUT, cell: 'qrnn', weightDropout: 0.3, qrnnWindow: 2 },
  sru: { ...COMMON, ...DROPOUT, cell: 'sru', norm: 'before', rescale: true },
  'sru++': {
    ...COMMON,
    ...DROPOUT,
    cell: 'sru++',
    projected: 6,
    heads: 2,
    attentionDropout: 0.3,
    norm: 'after',
  },
};

function segment(length: number, start: number) {
  const token = (k: number) => (k * k * 5 + 3 * k + start) % COMMON.vocabulary;
  const inputs = Int32Array.from({ length: ROWS * length }, (_, k) => token(k));
  return { rows: ROWS, inputs, targets: inputs.map((id) => (id * 3 + 1) % COMMON.vocabulary) };
}

const random = (shape: readonly number[], seed: number) =>
  withSeed(seed, () => call('aten::randn', shape, { dtype: 'float64' })).to({ device });

/** None of the weights is as it begins: alpha begins at 0. */
function disturbed(settings: NewLanguageModel, precision: 'float64' | 'float32' | 'bfloat16'): LanguageModel {
  const model = LanguageModel.create(settings, { device, precision, seed: 1 });
  noGrad(() => {
    for (const [k, { tensor }] of model.parameters().entries())
      tidy(() => {
        call('aten::add_.Tensor', tensor, random(tensor.shape, k).to({ dtype: tensor.dtype }), {
          alpha: 0.2,
        });
      });
  });
  return model;
}

const sum = (values: Numbers, weights: Numbers) =>
  Array.from(values).reduce((total, value, k) => total + value * weights[k]!, 0);

for (const [cell, settings] of Object.entries(CELLS)) {
  test(`${cell}: with all kinds of dropout, gradients are the slopes of the loss and of the state handed on`, async () => {
    using model = disturbed(settings, 'float64');
    const first = await model.forwardSegment(segment(4, 1), model.initialState(ROWS), {
      seed: 5,
      graph: false,
    });
    const before = first.after;
    const seeds = before.state.map(({ shape }, k) => random(shape, 90 + k));
    const weights = await Promise.all(seeds.map((seed) => seed.values()));
    const objective = async () => {
      const pass = await model.forwardSegment(segment(5, 2), before, { seed: 6, graph: false });
      let value = pass.loss;
      for (const [k, state] of pass.after.state.entries())
        value += sum((await state.values()) as Float64Array, weights[k] as Float64Array);
      return value;
    };
    const pass = await model.forwardSegment(segment(5, 2), before, { seed: 6, graph: true });
    const stateGradients = await pass.backward(1, seeds);
    const parts: [string, Tensor, Tensor][] = [
      ...model.parameters().map(({ name, tensor }): [string, Tensor, Tensor] => [name, tensor, tensor.grad!]),
      ...before.state.map((state, k): [string, Tensor, Tensor] => [`state ${k}`, state, stateGradients[k]!]),
    ];
    for (const [k, [name, tensor, gradient]] of parts.entries()) {
      const along = random(tensor.shape, 200 + k);
      const step = 1e-6;
      const move = (alpha: number) => {
        noGrad(() => call('aten::add_.Tensor', tensor, along, { alpha }).dispose());
      };
      move(step);
      const up = await objective();
      move(-2 * step);
      const down = await objective();
      move(step);
      const slope = (up - down) / (2 * step);
      const ours = sum((await gradient.values()) as Float64Array, (await along.values()) as Float64Array);
      assert.ok(
        Math.abs(slope - ours) <= 1e-6 * Math.max(1, Math.abs(slope)),
        `${name}: ${ours}, slope ${slope}`,
      );
    }
  });

  test(`${cell}: a segment read twice under one seed gives the same bits, under another seed others`, async () => {
    for (const precision of ['float64', 'float32', 'bfloat16'] as const) {
      using model = disturbed(settings, precision);
      const read = async (seed: number, graph: boolean) => {
        const pass = await model.forwardSegment(segment(7, 3), model.initialState(ROWS), { seed, graph });
        const states = await Promise.all(pass.after.state.map((state) => state.values()));
        pass.dispose();
        return { loss: pass.loss, states };
      };
      const once = await read(8, false);
      assert.deepEqual(await read(8, true), once);
      assert.notEqual((await read(9, false)).loss, once.loss);
    }
  });

  test(`${cell}: in bfloat16 the gradient has nearly the direction of float32's`, async () => {
    const all: number[][] = [];
    for (const precision of ['float32', 'bfloat16'] as const) {
      const plain = { ...settings, ...Object.fromEntries(Object.keys(DROPOUT).map((name) => [name, 0])) };
      for (const name of ['weightDropout', 'attentionDropout'])
        if (name in plain) Object.assign(plain, { [name]: 0 });
      using model = disturbed(plain, precision);
      clear([model]);
      const pass = await model.forwardSegment(segment(9, 4), model.initialState(ROWS), {
        seed: 1,
        graph: true,
      });
      assert.ok(pass.after.state.every(({ dtype }) => dtype === 'float32'));
      await pass.backward(1, null);
      all.push([...(await gradients([model])).values()].flatMap((gradient) => Array.from(gradient)));
    }
    const [wide, narrow] = all as [number[], number[]];
    assert.ok(cosine(wide, narrow) >= 0.999, `cosine ${cosine(wide, narrow)}`);
    assert.ok(relativeError(narrow, wide) > 1e-6, 'bfloat16 was not used');
  });
}

test('a state that lies in another order in memory is read all the same', async () => {
  for (const [cell, settings] of Object.entries(CELLS)) {
    using model = disturbed(settings, 'float32');
    const start = await model.forwardSegment(segment(4, 1), model.initialState(ROWS), {
      seed: 5,
      graph: false,
    });
    const strided = (tensor: Tensor): Tensor =>
      call('aten::t', call('aten::contiguous', call('aten::t', tensor)));
    const read = async (state: readonly Tensor[]) => {
      const before = { ...start.after, state };
      const pass = await model.forwardSegment(segment(5, 2), before, { seed: 6, graph: true });
      const gradient = await pass.backward(1, state);
      return { loss: pass.loss, gradient: await Promise.all(gradient.map((each) => each.values())) };
    };
    const expected = await read(start.after.state);
    assert.deepEqual(await read(start.after.state.map(strided)), expected, cell);
  }
});
