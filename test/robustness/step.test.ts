import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  call,
  GradCache,
  GradCacheError,
  infoNCE,
  ModuleEncoder,
  Tensor,
  type Module,
  type Parameter,
  type StepProgress,
  type TokenBatch,
} from '../../lib/index.js';
import { gradients, tenTexts, textEncoder, tokens } from '../exactness/support.js';
import { fails } from './failures.js';
import { failing, good } from './failing-step.js';

const batch = (ids: number[], offsets: number[]): TokenBatch => ({
  ids: Int32Array.from(ids),
  offsets: Int32Array.from(offsets),
  truncated: 0,
});

const wrong: [string, readonly unknown[], (error: unknown) => boolean][] = [
  ['an empty batch', [tokens([], 1), tokens([], 2)], fails('INPUT', /empty/)],
  ['one empty tower', [good[0], tokens([], 2)], fails('INPUT', /empty/)],
  ['a text of no token', [tokens([3, 0, 2], 1), tokens([3, 4, 2], 2)], fails('INPUT', /no token/)],
  [
    'a text longer than the encoder has positions',
    [tokens([41, 3], 1), tokens([2, 3], 2)],
    fails('INPUT', /41 tokens.*40/),
  ],
  ['a token outside of the vocabulary', [batch([1, 97], [0, 2]), batch([1], [0, 1])], fails('INPUT', /97/)],
  ['a negative token', [batch([1, -1], [0, 2]), batch([1], [0, 1])], fails('INPUT', /-1/)],
  ['towers of different length', [tenTexts(1), tokens([3, 4], 2)], fails('SHAPE', /10 anchors.*2/)],
  ['too few towers', [good[0]], fails('INPUT', /1 inputs for 2/)],
  ['too many towers', [good[0], good[1], good[1]], fails('INPUT', /3 inputs for 2/)],
  ['offsets that go back', [batch([1, 2, 3], [0, 2, 1, 3]), tokens([1, 1, 1], 2)], fails('SHAPE', /offsets/)],
  ['offsets beyond the ids', [batch([1, 2, 3], [0, 2, 9]), tokens([1, 1], 2)], fails('SHAPE', /offsets/)],
  [
    'offsets that do not begin at zero',
    [batch([1, 2, 3], [1, 3]), tokens([1], 2)],
    fails('SHAPE', /offsets/),
  ],
  [
    'ids of another type',
    [{ ids: [1, 2], offsets: [0, 2], truncated: 0 }, good[1]],
    fails('INPUT', /Int32Array/),
  ],
  ['texts instead of tokens', [['a text'], good[1]], fails('INPUT', /tokenize/)],
  ['null', [null, good[1]], fails('INPUT')],
  ['a tensor', [Tensor.from([1, 2]), good[1]], fails('INPUT', /tokenize/)],
];

for (const [title, inputs, expected] of wrong) {
  test(`a step refuses ${title} and leaves the gradients alone`, () => failing({}, inputs, expected));
}

test('an input that is a promise which fails', async () => {
  const failed = Promise.reject(new GradCacheError('INPUT', 'the tokenizer gave up'));
  failed.catch(() => undefined);
  await failing({}, [good[0], failed], fails('INPUT', /gave up/));
});

test('infoNCE refuses targets that do not fit, and options that it does not know', async () => {
  for (const targets of [
    [0],
    Array(10).fill(10),
    Array(10).fill(-1),
    Array(10).fill(0.5),
    Array(10).fill('a'),
    'abc',
    3,
    Array(10).fill(NaN),
  ]) {
    await failing({}, good, fails(['INPUT', 'SHAPE'], /target/), { loss: { targets } });
  }
  await failing({}, good, fails('INPUT', /temprature/), { loss: { temprature: 3 } });
});

const own = new Error('my own mistake');

const losses: [string, unknown, (error: unknown) => boolean][] = [
  [
    'throws',
    () => {
      throw own;
    },
    (error) => error === own,
  ],
  ['is NaN', (a: Tensor) => a.sum().mul(NaN), fails('NON_FINITE', /NaN/i)],
  ['is infinite', (a: Tensor) => a.sum().mul(Infinity).add(Infinity), fails('NON_FINITE')],
  ['is no scalar', (a: Tensor) => a.mul(2), fails('SHAPE', /one number/)],
  ['is no tensor', () => 3, fails('INPUT', /Tensor/)],
  ['is a promise', async (a: Tensor) => Promise.resolve(a.sum()), fails('INPUT', /asynchronous/)],
  ['does not depend on the representations', () => Tensor.from(1), fails('INPUT', /depend/)],
  ['depends on one tower alone', (a: Tensor) => a.sum(), fails('INPUT', /tower 1/)],
  [
    'disposed its arguments',
    (a: Tensor, b: Tensor) => {
      a.dispose();
      return b.sum();
    },
    fails(['DISPOSED', 'INPUT']),
  ],
  ['multiplies matrices that do not fit', (a: Tensor, b: Tensor) => a.matmul(b).sum(), fails('OPERATOR')],
  [
    'changes the representations in place',
    (a: Tensor, b: Tensor) => {
      call('aten::mul_.Tensor', a, 2);
      return a.add(b).sum();
    },
    fails('OPERATOR', /in-place/),
  ],
];

for (const [title, loss, expected] of losses) {
  test(`a loss of one's own that ${title}`, () => failing({ loss: loss as never }, good, expected));
}

const ones = (tensor: Tensor): Tensor => call('aten::ones_like', tensor);

/** Results of a loss with `compute` that are none. */
const results: [string, (towers: Tensor[]) => unknown, (error: unknown) => boolean][] = [
  ['nothing', () => undefined, fails('INPUT', /loss/)],
  ['a number alone', () => 3, fails('INPUT', /loss/)],
  [
    'a loss that is NaN',
    (towers) => ({ loss: NaN, gradients: towers.map(ones) }),
    fails('NON_FINITE', /NaN/),
  ],
  ['a loss that is text', (towers) => ({ loss: 'x', gradients: towers.map(ones) }), fails('INPUT', /"x"/)],
  ['no loss', (towers) => ({ gradients: towers.map(ones) }), fails('INPUT', /loss/)],
  ['no gradients', () => ({ loss: 1 }), fails('INPUT', /gradients/)],
  ['a gradient too few', ([a]) => ({ loss: 1, gradients: [ones(a!)] }), fails('INPUT', /tower 1/)],
  ['gradients that are numbers', () => ({ loss: 1, gradients: [1, 2] }), fails('INPUT', /a Tensor/)],
  [
    'gradients of other shapes',
    (towers) => ({ loss: 1, gradients: towers.map((tower) => ones(tower).sum(1)) }),
    fails('SHAPE', /tower 0/),
  ],
  [
    'an undo that cannot undo',
    (towers) => ({ loss: 1, gradients: towers.map(ones), undo: {} }),
    fails('INPUT', /undo/),
  ],
];

for (const [title, result, expected] of results) {
  test(`compute() of a loss of one's own gives ${title}`, () =>
    failing(
      {
        loss: {
          compute: async (towers: Tensor[]) => Promise.resolve(result(towers)),
          parameters: () => [],
        } as never,
      },
      good,
      expected,
    ));
}

for (const [title, parameters] of [
  ['nothing', undefined],
  ['a number', 3],
  ['a list of tensors', [Tensor.from(1)]],
  ['a list with a hole', [null]],
] as const) {
  test(`parameters() of a loss of one's own gives ${title}`, async () => {
    const compute = async (towers: Tensor[]) => Promise.resolve({ loss: 1, gradients: towers.map(ones) });
    const loss = { compute, parameters: () => parameters } as never;
    await assert.rejects(
      async () => {
        const encoder = new ModuleEncoder({ forward: (input: Tensor) => input, parameters: () => [] });
        await new GradCache({ encoders: [encoder], loss }).step([call('aten::ones', [2, 3])]);
      },
      fails('INPUT', /parameters\(\) of the loss/),
    );
  });
}

/** An encoder whose forward does what a test says, in the pass that it says. */
class Misbehaving implements Module {
  calls = 0;
  readonly #weight: Parameter;
  readonly #behave: (call: number, result: Tensor) => unknown;

  constructor(behave: (call: number, result: Tensor) => unknown) {
    const tensor = Tensor.from([0.5, -1, 2, 0.25, 1, 1], { shape: [2, 3] });
    tensor.requiresGrad = true;
    this.#weight = { name: 'weight', tensor, decay: true };
    this.#behave = behave;
  }

  forward(input: Tensor): Tensor {
    return this.#behave(++this.calls, input.linear(this.#weight.tensor)) as Tensor;
  }

  parameters(): Parameter[] {
    return [this.#weight];
  }
}

const features = (seed: number) =>
  Tensor.from(
    Array.from({ length: 18 }, (_, k) => Math.sin(k * seed)),
    { shape: [6, 3] },
  );

// Six rows in chunks of two: calls 1 to 6 are the first pass of both towers, 7 to 12 the second.
const behaviours: [string, (call: number, result: Tensor) => unknown, (error: unknown) => boolean][] = [
  [
    'throws in the first pass',
    (k, result) => {
      if (k === 3) throw own;
      return result;
    },
    (error) => error === own,
  ],
  [
    'throws in the second pass',
    (k, result) => {
      if (k === 9) throw own;
      return result;
    },
    (error) => error === own,
  ],
  ['returns too few rows', (_, result) => result.narrow(0, 0, 1), fails('SHAPE', /2 rows/)],
  ['returns one dimension', (_, result) => result.sum(1), fails('SHAPE', /2 rows/)],
  ['returns a number', () => 3, fails('INPUT', /Tensor/)],
  ['returns a promise', async (_, result) => Promise.resolve(result), fails('INPUT', /asynchronous/)],
  ['returns integers', (_, result) => result.to({ dtype: 'int64' }), fails(['DTYPE', 'INPUT', 'OPERATOR'])],
  [
    'cuts its graph in the second pass',
    (k, result) => (k > 6 ? result.detach() : result),
    fails('INPUT', /parameter/),
  ],
  [
    'returns something else in the second pass',
    (k, result) => (k === 10 ? result.mul(1.01) : result),
    fails('INPUT', /other representations in the second pass/),
  ],
  [
    'returns another dimension in the second pass',
    (k, result) => (k > 6 ? result.narrow(1, 0, 1) : result),
    fails('SHAPE'),
  ],
  [
    'returns another dimension in a later chunk',
    (k, result) => (k > 1 ? result.narrow(1, 0, 1) : result),
    fails(['SHAPE', 'OPERATOR']),
  ],
  [
    'returns another type in a later chunk',
    (k, result) => (k > 1 ? result.to({ dtype: 'float64' }) : result),
    fails(['DTYPE', 'OPERATOR']),
  ],
  [
    'returns a disposed tensor',
    (_, result) => {
      result.dispose();
      return result;
    },
    fails('DISPOSED'),
  ],
  ['returns NaN', (_, result) => result.mul(NaN), fails('NON_FINITE')],
];

for (const [title, behave, expected] of behaviours) {
  test(`an encoder of one's own that ${title}`, async () => {
    for (const start of [null, Tensor.from([1, 2, 3, 4, 5, 6], { shape: [2, 3] })]) {
      const encoder = new ModuleEncoder(new Misbehaving(behave));
      const [{ tensor }] = encoder.parameters() as [Parameter];
      tensor.grad = start;
      const gradcache = new GradCache({
        encoders: [encoder, encoder],
        loss: infoNCE(),
        chunk: { sequences: 2 },
      });
      await assert.rejects(gradcache.step([features(1), features(2)]), expected);
      if (start === null) assert.equal(tensor.grad, null);
      else assert.deepEqual([...((await tensor.grad!.values()) as Float32Array)], [1, 2, 3, 4, 5, 6]);
    }
  });
}

test("inputs of one's own encoder are checked", async () => {
  const encoder = new ModuleEncoder(new Misbehaving((_, result) => result));
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss: infoNCE() });
  const gone = features(3);
  gone.dispose();
  const bad: [unknown, (error: unknown) => boolean][] = [
    [Tensor.from(1), fails('INPUT', /rows/)],
    [call('aten::zeros', [0, 3]), fails('INPUT', /empty/)],
    [gone, fails('DISPOSED')],
    [[features(1), call('aten::zeros', [5, 3])], fails('SHAPE', /6 and 5/)],
    [[], fails('INPUT')],
    [[features(1), 3], fails('INPUT')],
    [undefined, fails('INPUT')],
    [call('aten::zeros', [6, 4]), fails('OPERATOR')],
    [call('aten::zeros', [6, 3], { dtype: 'int64' }), fails('OPERATOR')],
  ];
  for (const [input, expected] of bad)
    await assert.rejects(gradcache.step([input as Tensor, features(1)]), expected);
  for (const module of [undefined, null, {}, { forward: 3, parameters: 4 }, { forward() {} }]) {
    assert.throws(() => new ModuleEncoder(module as never), fails('INPUT', /forward/));
  }
});

test('what a progress callback throws ends the step', () =>
  failing({}, good, (error) => error === own, {
    onProgress: ({ phase }) => {
      if (phase === 'backward') throw own;
    },
  }));

test('an encoder that is disposed in the middle of a step', async () => {
  const encoder = await textEncoder('float32');
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss: infoNCE(), chunk: { sequences: 1 } });
  const step = gradcache.step(good, {
    onProgress: ({ phase, chunk }) => {
      if (phase === 'forward' && chunk === 2) encoder.dispose();
    },
  });
  await assert.rejects(step, fails('DISPOSED'));
  await assert.rejects(gradcache.step(good), fails('DISPOSED'));
  await assert.rejects(encoder.encode(['w1']), fails('DISPOSED'));
  encoder.dispose();
});

for (const [writer, write] of Object.entries({
  'an operator in place': (weight: Tensor) => call('aten::mul_.Scalar', weight, 1.5).dispose(),
  "an optimizer's fused operator": (weight: Tensor) =>
    call('aten::_fused_sgd_', [weight], [weight.clone()], [], {
      weight_decay: 0,
      momentum: 0,
      lr: 0.5,
      dampening: 0,
      nesterov: false,
      maximize: false,
      is_first_step: true,
    }),
})) {
  for (const retain of [{ bytes: 0 }, 'last', { bytes: 1e9 }] as const) {
    for (const when of ['forward', 'loss', 'backward']) {
      test(`weights that ${writer} changes are noticed: ${when}, retain ${JSON.stringify(retain)}`, async () => {
        const encoder = await textEncoder('float32');
        const [{ tensor }] = encoder.parameters() as [Parameter];
        const towers = [encoder, encoder];
        const gradcache = new GradCache({
          encoders: towers,
          loss: infoNCE(),
          chunk: { sequences: 1 },
          retain,
        });
        let written = false;
        const step = gradcache.step(good, {
          onProgress: ({ phase }) => {
            if (phase === when && !written) write(tensor.detach());
            written ||= phase === when;
          },
        });
        await assert.rejects(step, fails('INPUT', /weights were changed/));
        for (const values of (await gradients([encoder])).values())
          assert.ok(Array.from(values).every((value) => value === 0));
        assert.ok((await gradcache.step(good)).loss > 0);
      });
    }
  }
}

test('every phase of a step reports its chunks from 1 to the last, with all rows and tokens', async () => {
  const encoder = await textEncoder('float32');
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss: infoNCE(), chunk: { sequences: 4 } });
  const seen: StepProgress[] = [];
  const { sequences, tokens } = await gradcache.step(good, { onProgress: (progress) => seen.push(progress) });
  for (const phase of ['forward', 'loss', 'backward']) {
    const own = seen.filter((progress) => progress.phase === phase);
    assert.deepEqual(
      own.map(({ chunk }) => chunk),
      Array.from({ length: own[0]!.chunks }, (_, k) => k + 1),
      phase,
    );
    assert.deepEqual([own.at(-1)!.rows, own.at(-1)!.tokens], [sequences, tokens], phase);
  }
});
