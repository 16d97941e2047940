import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  adaptiveLayer,
  crossBatchMemory,
  distanceHead,
  matryoshka,
  matryoshka2d,
  splade,
  Tensor,
  type LossOptions,
  type LossWithGradients,
} from '../../lib/index.js';

/** A loss of everything that a loss can say of itself. It remembers what it was asked. */
class Probe implements LossWithGradients {
  readonly takesIds = true;
  readonly takesSeed = true;
  readonly packed = true;
  readonly sharing = 'parts';
  readonly takesRing = true;
  readonly computed: LossOptions[] = [];
  readonly checked: LossOptions[] = [];
  readonly lengths: (number | undefined)[][] = [];
  beside: LossOptions | null = null;

  compute(representations: readonly Tensor[], weight: number, options: LossOptions) {
    this.computed.push(options);
    const gradients = representations.map((rows) => rows.mul(weight));
    return Promise.resolve({ loss: 1, gradients });
  }

  parameters() {
    return [];
  }

  checkLengths(lengths: readonly (number | undefined)[]): void {
    this.lengths.push([...lengths]);
  }

  checkOptions(options: LossOptions): void {
    this.checked.push(options);
  }

  optionsBeside(options: LossOptions, _rows: readonly number[], others: number): LossOptions {
    this.beside = { ...options, others };
    return this.beside;
  }

  joinOptions(): LossOptions {
    return { joined: true };
  }
}

const head = {
  forward: (anchors: Tensor, candidates: Tensor) => anchors.matmul(candidates.t()),
  parameters: () => [],
};

interface Wrapper {
  readonly name: string;
  readonly wrap: (loss: LossWithGradients) => LossWithGradients;
  /** Columns of a row. */
  readonly width?: number;
  /** Whether it draws something itself. */
  readonly draws?: boolean;
  /** What does not reach the loss inside, or not as it is, and why. */
  readonly but?: Readonly<Partial<Record<keyof LossWithGradients, string>>>;
}

const WRAPPERS: readonly Wrapper[] = [
  { name: 'matryoshka', wrap: (loss) => matryoshka(loss, { dimensions: [4, 2] }) },
  {
    name: 'matryoshka of some lengths',
    draws: true,
    wrap: (loss) => matryoshka(loss, { dimensions: [4, 2], dimensionsPerStep: 1 }),
  },
  { name: 'adaptiveLayer', width: 8, wrap: (loss) => adaptiveLayer(loss, { layers: [2, 1] }) },
  {
    name: 'matryoshka2d',
    width: 8,
    wrap: (loss) => matryoshka2d(loss, { layers: [2, 1], dimensions: [4, 2] }),
  },
  {
    name: 'splade',
    wrap: (loss) => splade(loss, { documentRegularizerWeight: 0.1 }),
    but: { takesRing: 'its rows are sparse, of as many numbers as they come to' },
  },
  {
    name: 'crossBatchMemory',
    wrap: (loss) => crossBatchMemory(loss, { capacity: 4 }),
    but: {
      packed: 'the memory keeps one row of an example',
      takesRing: 'each rank has the memory',
      optionsBeside: 'it asks for them itself',
    },
  },
  {
    name: 'distanceHead',
    draws: true,
    wrap: (loss) => distanceHead(head, { loss }),
    but: {
      packed: 'its rows are compared one with one',
      takesRing: 'for which it needs all rows',
      optionsBeside: 'more candidates are more columns of distances, of which no keyword argument tells',
    },
  },
];

const rows = (width: number): Tensor[] =>
  [1, 2].map((seed) =>
    Tensor.from(
      Float64Array.from({ length: 3 * width }, (_, k) => 1 + Math.abs(Math.sin(k * seed))),
      { shape: [3, width] },
    ),
  );

for (const { name, wrap, width = 4, but = {}, draws = false } of WRAPPERS) {
  const passes = (property: keyof LossWithGradients): boolean => but[property] === undefined;

  test(`${name} says of itself what the loss inside says`, () => {
    const wrapped = wrap(new Probe());
    assert.equal(wrapped.takesIds, true);
    assert.equal(wrapped.takesSeed, true);
    if (passes('packed')) assert.equal(wrapped.packed, true);
    assert.equal(wrapped.takesRing ?? false, passes('takesRing'));
    assert.equal(wrapped.sharing, 'parts');
  });

  test(`${name} hands on what is asked and given`, async () => {
    const probe = new Probe();
    const wrapped = wrap(probe);
    const given = { seed: 7, ids: [1, 2, 3], own: 'x' };
    wrapped.checkOptions!(given, [3, 3]);
    assert.ok(probe.checked.length > 0); // Matryoshka asks at the least and the greatest length
    for (const options of probe.checked) assert.deepEqual(options, given);
    wrapped.checkLengths?.([width, width]);
    assert.equal(probe.lengths.length > 0, passes('checkLengths'));
    await wrapped.compute(rows(width), 1, given);
    assert.ok(probe.computed.length > 0);
    for (const options of probe.computed) {
      const { seed, ...others } = options;
      assert.equal(typeof seed, 'number');
      assert.deepEqual(others, { ids: given.ids, own: 'x' });
    }
    assert.deepEqual(
      wrapped.joinOptions!(
        [given, given],
        [
          [3, 3],
          [3, 3],
        ],
      )['joined'],
      true,
    );
    if (!passes('optionsBeside')) return;
    wrapped.optionsBeside!({ own: 'x' }, [3, 3], 2);
    assert.deepEqual(probe.beside, { own: 'x', others: 2 });
  });

  if (draws)
    test(`${name} draws by the seed of a step, and refuses one that is none`, async () => {
      const wrong = { seed: 'x' as unknown as number };
      const refused = { code: 'INPUT', message: /seed/ };
      await assert.rejects(async () => wrap(new Probe()).compute(rows(width), 1, wrong), refused);
    });
}

test('a loss of several layers is refused inside of one that takes rows of one layer', () => {
  const inner = adaptiveLayer(new Probe(), { layers: [2, 1] });
  for (const { name, wrap } of WRAPPERS)
    if (name !== 'crossBatchMemory')
      assert.throws(() => wrap(inner), { code: 'INPUT', message: /layers of the loss/ }, name);
  assert.deepEqual(crossBatchMemory(inner, { capacity: 4 }).layers, [2, 1]);
});

test('the dropout of a distance head follows the seed of the step', async () => {
  const dropped: number[][] = [];
  const drops = {
    forward(anchors: Tensor, candidates: Tensor) {
      const found = anchors.matmul(candidates.t()).dropout(0.5);
      dropped.push([...(found.detach().valuesSync() as Float64Array)]);
      return found;
    },
    parameters: () => [],
  };
  const loss = distanceHead(drops, { seed: 3 });
  const first = async (options: LossOptions) => {
    dropped.length = 0;
    await loss.compute(rows(4), 1, options);
    return dropped[0]!;
  };
  const [a, b, c] = [await first({ seed: 5 }), await first({ seed: 5 }), await first({ seed: 6 })];
  assert.deepEqual(a, b);
  assert.notDeepEqual(a, c);
  assert.notDeepEqual(await first({}), await first({}));
});
