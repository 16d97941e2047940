import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  AdamW,
  call,
  distanceHead,
  GradCache,
  Tensor,
  type DistanceHead,
  type LossOptions,
  type Parameter,
} from '../../lib/index.js';
import { type LossShare, withGradients } from '../../lib/losses/loss.js';
import { fullBatch, gradients, tenTexts, textEncoder, whole } from '../exactness/support.js';
import { assertClose, assertSameGradients } from '../oracle/compare.js';

function rows(count: number, dimension: number, seed: number): Tensor {
  const values = Float64Array.from({ length: count * dimension }, (_, i) =>
    Math.sin(1 + i * 1.7 + seed * i * i),
  );
  return Tensor.from(values, { shape: [count, dimension] });
}

function parameter(name: string, tensor: Tensor): Parameter {
  tensor.requiresGrad = true;
  return { name, tensor, decay: true };
}

/** A perceptron over products and differences of two rows of the same length. */
class Perceptron implements DistanceHead {
  readonly #parameters: Parameter[];
  readonly #dropout: number;

  constructor(dimension: number, { dropout = 0, width = 4 } = {}) {
    this.#dropout = dropout;
    this.#parameters = [
      parameter('head.0.weight', rows(width, 2 * dimension, 11)),
      parameter('head.0.bias', Tensor.from(rows(1, width, 12).valuesSync())),
      parameter('head.1.weight', rows(1, width, 13)),
    ];
  }

  parameters(): Parameter[] {
    return this.#parameters;
  }

  forward(anchors: Tensor, candidates: Tensor): Tensor {
    const [weight, bias, out] = this.#parameters.map(({ tensor }) => tensor);
    const [first, second] = [anchors.reshape([anchors.shape[0]!, 1, -1]), candidates];
    const features: Tensor = call('aten::cat', [first.mul(second), call('aten::abs', first.sub(second))], -1);
    const hidden = features.linear(weight!, bias).tanh();
    return (this.#dropout > 0 ? hidden.dropout(this.#dropout) : hidden)
      .linear(out!)
      .reshape([anchors.shape[0]!, candidates.shape[0]!]);
  }
}

/** A matrix between rows of different lengths. */
class Bilinear implements DistanceHead {
  readonly weight: Parameter;

  constructor(dimension: number, other: number) {
    this.weight = parameter('head.weight', rows(dimension, other, 14));
  }

  parameters(): Parameter[] {
    return [this.weight];
  }

  forward(anchors: Tensor, candidates: Tensor): Tensor {
    return anchors.matmul(this.weight.tensor).matmul(candidates.t());
  }
}

const entropy = (targets?: readonly number[]) => (scores: Tensor) =>
  call<Tensor>(
    'aten::cross_entropy_loss',
    scores,
    Tensor.from(targets ?? Array.from({ length: scores.shape[0]! }, (_, row) => row), { dtype: 'int64' }),
  );

/** Pulls the diagonal below every other distance by a margin; needs all of them at once. */
const margins = (distances: Tensor): Tensor => {
  const own = call<Tensor>('aten::diagonal', distances).reshape([-1, 1]);
  return own.sub(distances).add(1).relu().sum().add(distances.logsumexp(0).mean());
};

test('value and all gradients are those of the whole batch in one graph', async () => {
  const cases: [
    string,
    () => DistanceHead,
    Tensor[],
    number,
    ((all: Tensor) => Tensor) | undefined,
    number[]?,
  ][] = [
    [
      'blocks that do not divide the batch',
      () => new Perceptron(5),
      [rows(10, 5, 1), rows(10, 5, 2), rows(7, 5, 3)],
      4,
      undefined,
    ],
    ['a block for all', () => new Perceptron(5), [rows(10, 5, 1), rows(10, 5, 2)], 100, undefined],
    ['pair by pair', () => new Perceptron(3), [rows(4, 3, 1), rows(4, 3, 2)], 1, undefined],
    ['one pair', () => new Perceptron(3), [rows(1, 3, 1), rows(1, 3, 2), rows(2, 3, 2)], 2, undefined],
    ['rows of different lengths', () => new Bilinear(5, 3), [rows(6, 5, 1), rows(8, 3, 2)], 5, undefined],
    ['targets', () => new Bilinear(5, 3), [rows(4, 5, 1), rows(8, 3, 2)], 3, undefined, [7, 0, 0, 3]],
    ["a loss of one's own", () => new Perceptron(5), [rows(9, 5, 1), rows(9, 5, 2)], 4, margins],
  ];
  for (const [title, make, towers, block, own, targets] of cases) {
    const whole = make();
    const twin = (...given: (Tensor & LossOptions)[]): Tensor => {
      const [anchors, ...candidates] = given.slice(0, -1);
      return (own ?? entropy(targets))(whole.forward(anchors!, call('aten::cat', candidates, 0)));
    };
    const expected = await withGradients(twin).compute(towers, 0.5, {});
    const head = make();
    const loss = distanceHead(head, { block, ...(own && { loss: own }) });
    const ours = await loss.compute(towers, 0.5, targets === undefined ? {} : { targets });
    assertClose([ours.loss], [expected.loss], 1e-10, title);
    for (const [tower, gradient] of expected.gradients.entries())
      assertClose(
        (await ours.gradients[tower]!.values()) as Float64Array,
        (await gradient!.values()) as Float64Array,
        1e-10,
        `${title}, tower ${tower}`,
      );
    for (const [place, { name, tensor }] of loss.parameters().entries())
      assertClose(
        (await tensor.grad!.values()) as Float64Array,
        (await whole.parameters()[place]!.tensor.grad!.values()) as Float64Array,
        1e-10,
        `${title}, ${name}`,
      );
  }
});

test('through encoders too: the cached step has the gradients of the full batch, and learns', async () => {
  const encoder = await textEncoder('float64');
  const batches = [tenTexts(1), tenTexts(2)];
  const whole1 = new Perceptron(24);
  const expected = await fullBatch(
    [encoder, encoder],
    batches.map((batch) => whole(encoder, batch)),
    (a, b) => entropy()(whole1.forward(a, b)),
  );
  const loss = distanceHead(new Perceptron(24), { block: 3 });
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss, chunk: { sequences: 3 } });
  const first = await gradcache.step(batches);
  assertClose([first.loss], [expected.loss], 1e-10, 'value');
  assertSameGradients(await gradients([encoder]), expected.gradients, 1e-10, 'encoder');
  const names = gradcache.parameters().map(({ name }) => name);
  assert.ok(names.includes('head.0.weight'), names.join());

  const optimizer = new AdamW(gradcache.parameters(), { lr: 0.02 });
  const before = await loss.state();
  for (let step = 0; step < 8; step++) {
    await optimizer.step();
    await optimizer.zeroGrad();
    await gradcache.step(batches);
  }
  const state = await loss.state();
  assert.deepEqual([...state.keys()], ['head.0.weight', 'head.0.bias', 'head.1.weight']);
  assert.notDeepEqual(state.get('head.0.weight')!.bytes, before.get('head.0.weight')!.bytes);
  const { loss: last } = await gradcache.step(batches);
  assert.ok(last < first.loss, `${last} after ${first.loss}`);

  const again = distanceHead(new Perceptron(24), { block: 3 });
  again.loadState(state);
  const other = new GradCache({ encoders: [encoder, encoder], loss: again, chunk: { sequences: 3 } });
  assertClose([(await other.step(batches)).loss], [last], 1e-12, 'restored');
  assert.throws(() => distanceHead(new Perceptron(23)).loadState(state), { code: 'CHECKPOINT' });
  assert.throws(() => again.loadState(new Map()), { code: 'CHECKPOINT' });
});

test('dropout in a head is the same in both passes: gradients are the slopes of finite differences', async () => {
  const towers = [rows(5, 3, 1), rows(5, 3, 2)];
  const make = () => distanceHead(new Perceptron(3, { dropout: 0.4, width: 9 }), { block: 2, seed: 5 });
  const { gradients: ours } = await make().compute(towers, 1, {});
  const direction = rows(5, 3, 4);
  const at = async (shift: number) =>
    (await make().compute([towers[0]!.add(direction.mul(shift)), towers[1]!], 1, {})).loss;
  const slope = ours[0]!.mul(direction).sum().item();
  assertClose([slope], [((await at(1e-5)) - (await at(-1e-5))) / 2e-5], 1e-5, 'slope');
  const loss = make();
  const values = [await loss.compute(towers, 1, {}), await loss.compute(towers, 1, {})];
  assert.notEqual(values[0]!.loss, values[1]!.loss, 'each step has masks of its own');
});

test('a head that gives something else in its second pass fails, and gradients are as before', async () => {
  const bystander = parameter('bystander', Tensor.from(Float64Array.of(2))).tensor;
  const weight = new Bilinear(4, 4);
  for (const fault of ['distances', 'error'] as const) {
    let calls = 0;
    const head: DistanceHead = {
      parameters: () => weight.parameters(),
      forward: (anchors, candidates) => {
        const found = weight.forward(anchors, candidates).mul(bystander);
        if (++calls < 8) return found;
        if (fault === 'error') throw new Error('as asked');
        return found.add(1);
      },
    };
    const loss = distanceHead(head, { block: 3 });
    await assert.rejects(
      loss.compute([rows(6, 4, 1), rows(6, 4, 2)], 1, {}),
      fault === 'error' ? /as asked/ : { code: 'INPUT', message: /other distances in the second pass/ },
    );
    assert.equal(bystander.grad, null, fault);
    assert.equal(weight.weight.tensor.grad, null, fault);
  }
});

test('what does not fit is refused', async () => {
  const head = new Bilinear(3, 3);
  for (const [given, options, message] of [
    [undefined, {}, /needs the methods forward/],
    [{ forward: () => 0 }, {}, /parameters\(\)/],
    [head, { block: 0 }, /block is 0; a whole number from 1/],
    [head, { blocks: 1 }, /did you mean block/],
    [head, { seed: 0.5 }, /seed is 0.5/],
    [head, { loss: 'cosine' }, /loss is "cosine"/],
  ] as const)
    assert.throws(() => distanceHead(given as never, options as never), { code: 'INPUT', message });

  const pair = [rows(2, 3, 1), rows(2, 3, 2)];
  const returning = (value: unknown): DistanceHead => ({
    parameters: () => [],
    forward: () => value as Tensor,
  });
  const refusals: [DistanceHead, Tensor[], LossOptions, object][] = [
    [head, [rows(2, 3, 1)], {}, { code: 'SHAPE', message: /at least two towers/ }],
    [
      head,
      [rows(2, 3, 1), rows(6, 1, 1).reshape([6])],
      {},
      { code: 'SHAPE', message: /tower 1 have shape \[6\]/ },
    ],
    [
      head,
      [rows(2, 3, 1), rows(1, 3, 1)],
      {},
      { code: 'SHAPE', message: /target 1 is not one of the 1 candidates/ },
    ],
    [head, pair, { targets: [0, 2] }, { code: 'SHAPE', message: /target 2/ }],
    [head, pair, { target: [0, 1] }, { code: 'INPUT' }],
    [returning(1), pair, {}, { code: 'INPUT', message: /returned is 1; a Tensor/ }],
    [
      returning(rows(2, 3, 1)),
      pair,
      {},
      { code: 'SHAPE', message: /\[2,3\] for 2 anchors and 2 candidates; \[2,2\]/ },
    ],
    [
      returning(rows(2, 2, 1)),
      pair,
      {},
      { code: 'INPUT', message: /does not depend on the representations of tower 0/ },
    ],
    [{ forward: head.forward.bind(head), parameters: () => 3 as never }, pair, {}, { code: 'INPUT' }],
  ];
  for (const [given, towers, options, error] of refusals) {
    const loss = distanceHead(given);
    await assert.rejects(async () => {
      loss.parameters();
      await loss.compute(towers, 1, options);
    }, error);
  }
  // Before anything is encoded.
  for (const [rows, options, message] of [
    [[2], {}, /at least two towers/],
    [[2, 1], {}, /target 1 is not one of the 1 candidates/],
    [[2, 1, 1], { targets: [0, 2] }, /target 2 is not one of the 2 candidates/],
    [[2, 2], { targets: [0] }, /1 targets for 2 anchors/],
  ] as const)
    assert.throws(
      () => {
        distanceHead(head).checkOptions!(options, rows);
      },
      { code: 'SHAPE', message },
    );
  await assert.rejects(
    distanceHead({ parameters: () => [], forward: async () => rows(2, 2, 1) as never } as never).compute(
      pair,
      1,
      {},
    ),
    { code: 'INPUT', message: /asynchronous/ },
  );
});

test('over ranks a head and its loss have no parameter in common', async () => {
  const weight = parameter('weight', rows(2, 2, 3));
  const head = {
    parameters: () => [weight],
    forward: (anchors: Tensor, candidates: Tensor) =>
      anchors.matmul(weight.tensor).matmul(candidates.transpose(0, 1)),
  };
  const loss = {
    parameters: () => [weight],
    compute: () => Promise.reject(new Error('it is refused before')),
  };
  const shared = distanceHead(head, { loss });
  const towers = [rows(3, 2, 1), rows(3, 2, 2)];
  await assert.rejects(shared.compute(towers, 1, {}), { message: 'it is refused before' });
  const share = { rank: 1, size: 2 } as LossShare;
  await assert.rejects(shared.compute(towers, 1, {}, [true, true], share), {
    code: 'INPUT',
    message: /^weight belongs to the distance head and to its loss/,
  });
});
