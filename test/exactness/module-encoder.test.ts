import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Tensor } from '../../lib/index.js';
import {
  call,
  GradCache,
  infoNCE,
  ModuleEncoder,
  planChunks,
  withSeed,
  type Encoder,
  type Module,
  type Parameter,
  type TensorBatch,
} from '../../lib/index.js';
import type { Retain } from '../../lib/step/retention.js';
import { drawSeed } from '../../lib/options/seeds.js';
import { assertSameGradients } from '../oracle/compare.js';
import {
  clear,
  device,
  fullBatch,
  gradients,
  plainInfoNCE,
  precisions,
  tenTexts,
  textEncoder,
  whole,
  type Precision,
} from './support.js';

const random = (shape: number[], seed: number, dtype: Precision): Tensor =>
  withSeed(seed, () => call('aten::randn', shape, { dtype: 'float32' })).to({ dtype, device });

function parameter(name: string, shape: number[], seed: number, dtype: Precision): Parameter {
  const tensor = random(shape, seed, dtype).mul(0.4).detach();
  tensor.requiresGrad = true;
  return { name, tensor, decay: shape.length > 1 };
}

/** Rows of features through two layers with dropout in between. */
class Perceptron implements Module {
  readonly #parameters: Parameter[];
  readonly #dropout: number;

  constructor(
    inputs: number,
    outputs: number,
    dtype: Precision,
    options: { dropout?: number; seed?: number } = {},
  ) {
    const { dropout = 0, seed = 1 } = options;
    this.#dropout = dropout;
    this.#parameters = [
      parameter('up.weight', [13, inputs], seed, dtype),
      parameter('up.bias', [13], seed + 1, dtype),
      parameter('down.weight', [outputs, 13], seed + 2, dtype),
    ];
  }

  forward(features: Tensor): Tensor {
    const [weight, bias, down] = this.#parameters.map(({ tensor }) => tensor);
    const hidden = features.linear(weight!, bias).gelu();
    return (this.#dropout > 0 ? hidden.dropout(this.#dropout) : hidden).linear(down!);
  }

  parameters(): Parameter[] {
    return this.#parameters;
  }
}

/** Images [rows, 3, 8, 8] through a convolution. */
class Convolution implements Module {
  readonly #kernel: Parameter;

  constructor(dtype: Precision) {
    this.#kernel = parameter('kernel', [6, 3, 3, 3], 5, dtype);
  }

  forward(images: Tensor): Tensor {
    const maps = call('aten::conv2d', images, this.#kernel.tensor, null, 2).relu();
    return call('aten::mean.dim', maps, [2, 3]);
  }

  parameters(): Parameter[] {
    return [this.#kernel];
  }
}

/** Two inputs side by side, by name. */
class Sum implements Module<{ left: Tensor; right: Tensor }> {
  readonly #weight: Parameter;

  constructor(dtype: Precision) {
    this.#weight = parameter('weight', [5, 4], 6, dtype);
  }

  forward({ left, right }: { left: Tensor; right: Tensor }): Tensor {
    return left.linear(this.#weight.tensor).add(right.linear(this.#weight.tensor).tanh());
  }

  parameters(): Parameter[] {
    return [this.#weight];
  }
}

interface Case {
  readonly title: string;
  readonly module: (dtype: Precision) => Module<never>;
  readonly batch: (seed: number, dtype: Precision) => TensorBatch;
}

const cases: Case[] = [
  {
    title: 'feature rows',
    module: (dtype) => new Perceptron(7, 5, dtype),
    batch: (seed, dtype) => random([10, 7], seed, dtype),
  },
  {
    title: 'images',
    module: (dtype) => new Convolution(dtype),
    batch: (seed, dtype) => random([10, 3, 8, 8], seed, dtype),
  },
  {
    title: 'two inputs by name',
    module: (dtype) => new Sum(dtype),
    batch: (seed, dtype) => ({ left: random([10, 4], seed, dtype), right: random([10, 4], seed + 1, dtype) }),
  },
];

for (const { title, module, batch } of cases) {
  test(`an encoder in TypeScript: ${title}`, async () => {
    for (const [precision, tolerance] of precisions) {
      const encoder = new ModuleEncoder(module(precision));
      const batches = [batch(30, precision), batch(40, precision)];
      const pieces = batches.map((inputs) => whole(encoder as never, inputs));
      const expected = await fullBatch(
        [encoder, encoder] as never,
        pieces,
        plainInfoNCE({ temperature: 0.2 }),
      );
      for (const sequences of [1, 3, 10]) {
        const gradcache = new GradCache({
          encoders: [encoder, encoder],
          loss: infoNCE({ temperature: 0.2 }),
          chunk: { sequences },
        });
        const { loss, chunks } = await gradcache.step(batches);
        assert.equal(chunks, 2 * Math.ceil(10 / sequences));
        assert.ok(Math.abs(loss - expected.loss) <= tolerance * loss);
        assertSameGradients(
          await gradients([encoder]),
          expected.gradients,
          tolerance,
          `${precision}, chunks of ${sequences}`,
        );
        clear([encoder]);
      }
    }
  });
}

test('dropout inside an encoder in TypeScript is repeated in the second pass', async () => {
  for (const [precision, tolerance] of precisions) {
    const encoder = new ModuleEncoder(new Perceptron(7, 5, precision, { dropout: 0.4 }));
    const batches = [random([10, 7], 1, precision), random([10, 7], 2, precision)];
    const size = { sequences: 3 };
    let index = 0;
    const pieces = batches.map((batch) =>
      planChunks(encoder.lengths(batch), size).map((chunk) => ({
        batch,
        ...chunk,
        seed: drawSeed('chunk', 9, index++),
      })),
    );
    const expected = await fullBatch([encoder, encoder] as never, pieces, plainInfoNCE({ temperature: 0.2 }));
    const gradcache = new GradCache({
      encoders: [encoder, encoder],
      loss: infoNCE({ temperature: 0.2 }),
      chunk: size,
    });
    const { loss } = await gradcache.step(batches, { seed: 9 });
    assert.ok(Math.abs(loss - expected.loss) <= tolerance * loss);
    assertSameGradients(await gradients([encoder]), expected.gradients, tolerance, precision);
  }
});

test('two towers: texts through a transformer, feature vectors through a perceptron', async () => {
  for (const [precision, tolerance] of precisions) {
    const texts = await textEncoder(precision);
    const features = new ModuleEncoder(new Perceptron(7, texts.dimension, precision));
    const encoders = [texts, features] as const;
    const batches = [tenTexts(1), random([10, 7], 2, precision)] as const;
    const pieces = [whole(texts, batches[0]), whole(features, batches[1])];
    const expected = await fullBatch(encoders, pieces, plainInfoNCE({ temperature: 0.2, symmetric: true }));
    const gradcache = new GradCache({
      encoders: [...encoders],
      loss: infoNCE({ temperature: 0.2, symmetric: true }),
      chunk: [{ tokens: 30 }, { sequences: 4 }],
    });
    const { loss } = await gradcache.step(batches);
    assert.ok(Math.abs(loss - expected.loss) <= tolerance * loss);
    assertSameGradients(await gradients([...encoders]), expected.gradients, tolerance, precision);
    assert.equal(gradcache.parameters().length, texts.parameters().length + 3);
  }
});

/** Counts the rows that pass through a module. */
function counted(module: Module): { module: Module; rows: () => number } {
  let rows = 0;
  return {
    module: {
      forward: (input) => {
        rows += input.shape[0]!;
        return module.forward(input);
      },
      parameters: () => module.parameters(),
    },
    rows: () => rows,
  };
}

const locked = (module: Module): Module => {
  for (const { tensor } of module.parameters()) tensor.requiresGrad = false;
  return module;
};
const stored: Module = { forward: (rows) => rows, parameters: () => [] };

for (const [title, tower, width] of [
  ['representations computed before', () => stored, 24],
  ['a locked tower', () => locked(new Perceptron(7, 24, 'float64')), 7],
] as const) {
  test(`a tower without anything to train is encoded once, and the other has its exact gradient: ${title}`, async () => {
    const texts = await textEncoder('float64');
    for (const [name, loss] of [
      ['infoNCE', infoNCE({ temperature: 0.2 })],
      ["a loss of one's own", (a: Tensor, b: Tensor) => plainInfoNCE({ temperature: 0.2 })(a, b)],
    ] as const) {
      for (const retain of ['last', 'auto', { bytes: 0 }, { bytes: 1e9 }] as const) {
        const { module, rows } = counted(tower());
        const documents = new ModuleEncoder(module);
        const towers = [texts, documents] as const;
        const batches = [tenTexts(1), random([10, width], 31, 'float64')] as const;
        const pieces = towers.map((encoder, k) => whole(encoder as never, batches[k]!));
        const graphs = [texts, withGraph(documents)];
        const expected = await fullBatch(graphs as never, pieces, plainInfoNCE({ temperature: 0.2 }));
        const before = rows();
        const gradcache = new GradCache({ encoders: towers, loss, chunk: { sequences: 3 }, retain });
        const result = await gradcache.step(batches);
        assert.equal(rows() - before, 10, `${name}, ${JSON.stringify(retain)}`);
        assert.ok(Math.abs(result.loss - expected.loss) <= 1e-10);
        assertSameGradients(
          await gradients([texts]),
          new Map([...expected.gradients].filter(([key]) => key.startsWith('0:'))),
          1e-10,
          name,
        );
        for (const { tensor } of documents.parameters()) assert.equal(tensor.grad, null);
        clear([texts]);
      }
    }
  });
}

test('weights that two towers share have the gradient of both, whichever of them lists the weights', async () => {
  const batches = [random([10, 7], 31, 'float64'), random([10, 7], 32, 'float64')];
  const gradientsWith = async (lists: readonly boolean[], retain: Retain): Promise<number[]> => {
    const shared = new Perceptron(7, 24, 'float64', { dropout: 0.3 });
    const encoders = lists.map(
      (listed) =>
        new ModuleEncoder({
          forward: (input) => shared.forward(input),
          parameters: () => (listed ? shared.parameters() : []),
        }),
    );
    const loss = infoNCE({ temperature: 0.2 });
    await new GradCache({ encoders, loss, chunk: { sequences: 3 }, retain }).step(batches);
    return shared.parameters().flatMap(({ tensor }) => Array.from(tensor.grad!.valuesSync(), Number));
  };
  for (const retain of ['last', 'auto', { bytes: 0 }] as const) {
    const expected = await gradientsWith([true, true], retain);
    const greatest = Math.max(...expected.map(Math.abs));
    for (const lists of [
      [true, false],
      [false, true],
      [false, false],
    ]) {
      const found = await gradientsWith(lists, retain);
      const apart = Math.max(...found.map((value, k) => Math.abs(value - expected[k]!)));
      assert.ok(apart <= 1e-12 * greatest, `${lists.join()}, ${JSON.stringify(retain)}: ${apart}`);
    }
  }
});

test('nothing but a learned temperature to train', async () => {
  const loss = infoNCE({ temperature: { initial: 0.2, learned: true } });
  const encoder = new ModuleEncoder(stored);
  const batches = [random([10, 6], 31, 'float64'), random([10, 6], 32, 'float64')];
  await new GradCache({ encoders: [encoder, encoder], loss, chunk: { sequences: 3 } }).step(batches);
  assert.notEqual(loss.parameters()[0]!.tensor.grad!.item(), 0);
});

/** Gives fullBatch, which asks for a graph, the representations of a tower that has none. */
function withGraph(encoder: ModuleEncoder): Pick<Encoder<Tensor>, 'parameters' | 'forwardChunk'> {
  return {
    parameters: () => encoder.parameters(),
    forwardChunk: async (chunk, { seed }) => {
      const { representations } = await encoder.forwardChunk(chunk, { seed });
      return { representations, ticket: { seed, graph: representations } };
    },
  };
}
