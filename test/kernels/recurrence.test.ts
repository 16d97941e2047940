import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backward, call, Tensor, tidy, type DType } from '../../lib/index.js';
import { device } from '../exactness/support.js';
import { assertClose, cosine, type Numbers } from '../oracle/compare.js';
import { fails } from '../robustness/failures.js';
import { nameOf, plain, recur, shapesOf, stepByStep, type Recurrence } from './recurrence.js';
import { none, normals, some, type Dropout } from './support.js';

type Inputs = Record<string, Tensor>;

const sizeOf = (shape: readonly number[]): number => shape.reduce((product, n) => product * n, 1);

/** Leaves of normally distributed numbers, rounded through `through`. */
function inputsOf(r: Recurrence, dtype: DType = 'float64', through: DType = dtype): Inputs {
  return Object.fromEntries(
    Object.entries(shapesOf(r)).map(([name, shape], k) => {
      const leaf = Tensor.from(normals(sizeOf(shape), 1 + 100 * k), { shape, device })
        .to({ dtype: through })
        .to({ dtype });
      leaf.requiresGrad = true;
      return [name, leaf];
    }),
  );
}

/** Both outputs, then the gradient of every input, under random gradients of both outputs. */
async function everything(
  inputs: Inputs,
  compute: (inputs: Inputs) => readonly [Tensor, Tensor],
): Promise<Map<string, Numbers>> {
  const [h, last] = compute(inputs);
  const seed = (output: Tensor, number: number): Tensor =>
    Tensor.from(normals(output.size, number), { shape: output.shape, device }).to({ dtype: output.dtype });
  await backward([h, last], [seed(h, 7), seed(last, 8)]);
  const tensors = { h, last, ...Object.fromEntries(Object.entries(inputs).map(([k, v]) => [k, v.grad!])) };
  return new Map(Object.entries(tensors).map(([name, t]) => [name, t.valuesSync() as Numbers]));
}

function assertAllClose(
  found: ReadonlyMap<string, Numbers>,
  expected: ReadonlyMap<string, Numbers>,
  tolerance: number,
  what: string,
): void {
  assert.deepEqual([...found.keys()], [...expected.keys()]);
  for (const [name, values] of expected) assertClose(found.get(name)!, values, tolerance, `${what}: ${name}`);
}

/** Every combination of what can meet. */
function combinations(): Recurrence[] {
  const bools = [false, true] as const;
  const all: Recurrence[] = [];
  for (const [projections, skip] of [
    [2, false],
    [3, false],
    [3, true],
    [4, false],
  ] as const) {
    for (const direction of ['forward', 'reverse', 'both'] as const)
      for (const tanh of bools)
        for (const weights of bools)
          for (const bias of bools)
            for (const state of bools)
              for (const maskPerToken of bools) {
                // As many with a scaled skip as without.
                const skipScale = (skip || projections === 4) && tanh === bias ? 1.4 : 1;
                const options = { projections, skip, direction, tanh, weights, bias, state, maskPerToken };
                all.push({ ...plain, ...options, skipScale, offsets: [0, 3, 4], width: 3 });
              }
  }
  return all;
}

for (const [what, dropout] of [
  ['dropout', some],
  ['no dropout', none],
] as const) {
  test(`every combination of options, with ${what}: outputs and gradients are those of the plain loop`, async () => {
    for (const r of combinations()) {
      if (dropout === none && r.maskPerToken) continue;
      const ours = await everything(inputsOf(r), (inputs) => recur(r, inputs, dropout));
      const theirs = await everything(inputsOf(r), (inputs) => stepByStep(r, inputs, dropout));
      assertAllClose(ours, theirs, 1e-10, nameOf(r));
    }
  });
}

/** The same recurrence over other sequences: rows of the inputs, and states. */
function part(r: Recurrence, inputs: Inputs, sequence: number): [Recurrence, Inputs] {
  const [begin, end] = [r.offsets[sequence]!, r.offsets[sequence + 1]!];
  const own = { ...inputs };
  for (const name of ['u', 'skip']) if (own[name]) own[name] = own[name].narrow(0, begin, end - begin);
  if (own.state) own.state = own.state.narrow(0, sequence, 1);
  return [{ ...r, offsets: [0, end - begin] }, own];
}

const cat = (tensors: readonly Tensor[]): Tensor => call('aten::cat', tensors, 0);

for (const direction of ['forward', 'reverse', 'both'] as const) {
  // More sequences than the CPU adds up together, of very different lengths.
  const offsets = [0, 1, 2, 31, 33, 40];
  for (let s = 0; s < 20; s++) offsets.push(offsets.at(-1)! + 1 + ((s * 5) % 7));
  const r: Recurrence = { ...plain, direction, offsets, width: 136 };

  test(`${direction}: packed sequences give what each gives by itself`, async () => {
    for (const [dtype, tolerance] of [
      ['float64', 1e-12],
      ['float32', 1e-6],
    ] as const) {
      const packed = await everything(inputsOf(r, dtype), (inputs) => recur(r, inputs, none));
      const alone = await everything(inputsOf(r, dtype), (inputs) => {
        const outputs = r.offsets.slice(1).map((_, s) => recur(...part(r, inputs, s), none));
        return [cat(outputs.map(([h]) => h)), cat(outputs.map(([, last]) => last))];
      });
      assertAllClose(packed, alone, tolerance, dtype);
    }
  });
}

test('segment by segment, with the state handed on, gives what the whole gives', async () => {
  const r: Recurrence = { ...plain, offsets: [0, 40], width: 24 };
  for (const [dtype, tolerance] of [
    ['float64', 1e-12],
    ['float32', 1e-6],
  ] as const) {
    const whole = await everything(inputsOf(r, dtype), (inputs) => recur(r, inputs, none));
    const segments = await everything(inputsOf(r, dtype), (inputs) => {
      let state = inputs.state!;
      const hs: Tensor[] = [];
      for (const [begin, length] of [
        [0, 1],
        [1, 16],
        [17, 16],
        [33, 7],
      ] as const) {
        const rows = (name: string): Tensor => inputs[name]!.narrow(0, begin, length);
        const own = { ...inputs, u: rows('u'), skip: rows('skip'), state };
        const [h, last] = recur({ ...r, offsets: [0, length] }, own, none);
        hs.push(h);
        state = last;
      }
      return [cat(hs), state];
    });
    assertAllClose(segments, whole, tolerance, dtype);
  }
});

test('padding hands the cell on, has outputs of 0 and no gradient', async () => {
  // The second sequence is padding throughout, the third has some in between.
  const padded = [0, 0, 1, 1, 1, 1, 0, 1, 0].map(Boolean);
  for (const direction of ['forward', 'reverse', 'both'] as const) {
    const r: Recurrence = { ...plain, direction, offsets: [0, 3, 5, 9] };
    const inputs = inputsOf(r);
    const padding = Tensor.from(Uint8Array.from(padded, Number), { device }).to({ dtype: 'bool' });
    const found = await everything(inputs, () => recur(r, inputs, none, padding));

    // The real tokens alone; the second sequence hands its state on.
    const real = padded.flatMap((pads, row) => (pads ? [] : [row]));
    const twin = inputsOf(r);
    const rows = Tensor.from(real, { dtype: 'int64', device });
    const expected = await everything(twin, ({ u, skip, state, ...weights }) => {
      const [first, third] = [state!.narrow(0, 0, 1), state!.narrow(0, 2, 1)];
      const taken = {
        u: u!.indexSelect(0, rows),
        skip: skip!.indexSelect(0, rows),
        state: cat([first, third]),
      };
      const [h, last] = stepByStep({ ...r, offsets: [0, 2, 4] }, { ...taken, ...weights }, none);
      const spread: Tensor = call(
        'aten::index_copy',
        call('aten::zeros', [9, h.shape[1]!], { dtype: h.dtype, device }),
        0,
        rows,
        h,
      );
      return [spread, cat([last.narrow(0, 0, 1), state!.narrow(0, 1, 1), last.narrow(0, 1, 1)])];
    });
    assertAllClose(found, expected, 1e-12, direction);
  }
});

test('in bfloat16 the cell is kept in float32: gradients over 200 tokens point where those of float64 do', async () => {
  for (const r of [
    { ...plain, offsets: [0, 200, 260], width: 64, skipScale: 1.2 },
    { ...plain, offsets: [0, 200], width: 32, direction: 'both', projections: 4, skip: false },
    { ...plain, offsets: [0, 200], width: 64, tanh: true, skip: false, weights: false },
  ] as const satisfies Recurrence[]) {
    const exact = await everything(inputsOf(r, 'float64', 'bfloat16'), (inputs) => recur(r, inputs, some));
    const inputs = inputsOf(r, 'bfloat16');
    for (const name of ['weights', 'bias', 'state']) {
      if (!inputs[name]) continue;
      inputs[name] = inputs[name].detach().to({ dtype: 'float32' });
      inputs[name].requiresGrad = true;
    }
    const rounded = await everything(inputs, ({ u, ...others }) => {
      const outputs = recur(r, { u: u!, ...others }, some);
      assert.deepEqual(
        outputs.map(({ dtype }) => dtype),
        ['bfloat16', 'float32'],
      );
      return outputs;
    });
    for (const [name, expected] of exact) {
      const found = cosine(rounded.get(name)!, expected);
      assert.ok(found >= 0.999, `${nameOf(r)}: cosine of ${name} ${found}`);
    }
  }
});

test('the same seed gives the same bits, another seed others', async () => {
  const r: Recurrence = { ...plain, offsets: [0, 50, 90, 91], width: 72 };
  const run = (dtype: DType, dropout: Dropout) =>
    everything(inputsOf(r, dtype), (inputs) => recur(r, inputs, dropout));
  for (const dtype of ['float32', 'bfloat16'] as const) {
    const first = await run(dtype, some);
    assert.deepEqual(await run(dtype, some), first);
    assert.notDeepEqual((await run(dtype, { ...some, seed: 43 })).get('h'), first.get('h'));
  }
});

test('one mask serves a whole sequence, unless each token has its own', () => {
  const r: Recurrence = { ...plain, offsets: [0, 6, 12], width: 64, skip: false };
  const inputs = inputsOf(r);
  const dropped = (maskPerToken: boolean): string[] => {
    const [h] = recur({ ...r, maskPerToken }, inputs, some);
    const values = h.detach().valuesSync() as Float64Array;
    return Array.from({ length: 12 }, (_, t) =>
      [...values.subarray(64 * t, 64 * t + 64)].map((value) => (value === 0 ? '-' : '+')).join(''),
    );
  };
  const shared = dropped(false);
  assert.deepEqual([new Set(shared.slice(0, 6)).size, new Set(shared).size], [1, 2]);
  assert.equal(new Set(dropped(true)).size, 12);
});

test('what does not fit is refused', () => {
  const r = plain;
  const inputs = inputsOf(r);
  const run =
    (settings: Partial<Recurrence>, others: Partial<Inputs> = {}, dropout = none) =>
    () =>
      recur({ ...r, ...settings }, { ...inputs, ...others } as Inputs, dropout);
  const numbers = (shape: readonly number[], dtype: DType = 'float64'): Tensor =>
    call('aten::ones', shape, { dtype, device });
  for (const shape of [[2, 5], [3, 4], [3, 5, 1], [15]])
    assert.throws(run({}, { state: numbers(shape) }), fails('SHAPE', /state has shape .* must be \[3, 5\]/));
  assert.throws(run({}, { state: numbers([3, 5], 'float32') }), fails('DTYPE', /state has type/));
  for (const offsets of [[0, 3, 8], [0, 3, 10], [1, 9], [0, 5, 4, 9], [0], []])
    assert.throws(run({ offsets }, { state: undefined }), fails('SHAPE', /offsets/));
  assert.throws(run({ offsets: [0, 3, 3, 9] }), fails('SHAPE', /offsets must rise/));
  assert.throws(run({}, { u: numbers([9, 16]) }), fails('SHAPE', /u has 16 columns/));
  assert.throws(run({ direction: 'both' }), fails('SHAPE', /two directions/));
  assert.throws(run({}, { skip: numbers([9, 4]) }), fails('SHAPE', /skip has shape/));
  assert.throws(run({}, { skip: numbers([9, 5], 'float32') }), fails('DTYPE', /skip has type/));
  assert.throws(run({}, { weights: numbers([1, 5]) }), fails('SHAPE', /cell_weights has shape/));
  assert.throws(run({}, { bias: numbers([2, 6]) }), fails('SHAPE', /bias has shape/));
  for (const projections of [0, 1, 5, -3])
    assert.throws(run({ projections: projections as 2 }), fails('INPUT', /projections/));
  assert.throws(
    run({ projections: 4 }, { u: numbers([9, 20]) }),
    fails('INPUT', /skip goes with three projections/),
  );
  assert.throws(run({ direction: 'back' as 'both' }), fails('INPUT', /forward, reverse or both/));
  assert.throws(run({ skipScale: 2 }, { skip: undefined }), fails('INPUT', /nothing to scale/));
  assert.throws(run({ skipScale: NaN }), fails('INPUT', /skip_scale/));
  assert.throws(
    () => call('gradcache::sru', inputs.u, r.offsets, { mask_per_token: true }),
    fails('INPUT', /mask_per_token/),
  );
  assert.throws(run({}, {}, { ...none, p: 1 }), fails('INPUT', /below 1/));
  const padding = (tensor: Tensor) => () => recur(r, inputs, none, tensor);
  assert.throws(padding(numbers([9])), fails('DTYPE', /padding has type/));
  assert.throws(padding(numbers([8], 'bool')), fails('SHAPE', /padding has shape/));
});

test('a state narrower or wider than the rows is taken as float32', () => {
  const r: Recurrence = { ...plain, width: 8 };
  const inputs = inputsOf(r, 'bfloat16');
  const wide = { ...inputs, state: inputs.state!.to({ dtype: 'float32' }) };
  const outputs = [inputs, wide].map((own) =>
    tidy(() => recur(r, own, none).map((t) => t.detach().valuesSync())),
  );
  assert.deepEqual(outputs[0], outputs[1]);
});
