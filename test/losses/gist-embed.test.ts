import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  call,
  GradCache,
  gistEmbed,
  Tensor,
  type GISTEmbedOptions,
  type GuideEncoder,
  type Loss,
  type LossOptions,
} from '../../lib/index.js';
import { tenTexts, textEncoder } from '../exactness/support.js';
import { assertLikeTwin, rowsOf, SHAPES, tensorOf } from './twins.js';
import { assertLikeVector, vectorsAbsent, vectorsOf } from './vectors.js';

type Rows = number[][];

const unit = (rows: Rows): Rows =>
  rows.map((row) => row.map((value) => value / Math.max(Math.hypot(...row), 1e-12)));
const dot = (a: readonly number[], b: readonly number[]) =>
  a.reduce((sum, value, k) => sum + value * b[k]!, 0);

interface Judged extends GISTEmbedOptions {
  /** Which rows share an identity. */
  readonly shares?: (row: number, other: number) => boolean;
}

/** The loss in plain operators on all scores; what is left out is decided in plain numbers. */
function plain(guide: readonly Rows[], options: Judged): Loss {
  const { temperature = 0.01, margin = 0, marginStrategy = 'absolute', threshold } = options;
  const { contrastAnchors = true, contrastPositives = true, shares = () => false } = options;
  const units = guide.map(unit);
  const limit = units[0]!.map((row, k) => {
    const own = dot(row, units[1]![k]!);
    const far = threshold ?? own - (marginStrategy === 'relative' ? Math.abs(own) * margin : margin);
    return far + 1e-12;
  });
  return (...given: (Tensor & LossOptions)[]) => {
    const towers = given.slice(0, -1).map((tower) => tower.normalize());
    const count = towers[0]!.shape[0]!;
    const block = (rows: number, columns: number): Tensor => {
      const [first, second] = [units[rows]!, units[columns]!];
      const isOwn = (row: number, column: number) => rows === 0 && columns === 1 && row === column;
      const same = (row: number, column: number) =>
        second.length === count && row !== column && shares(row, column);
      const mask = first.flatMap((of, row) =>
        second.map((other, column) =>
          !isOwn(row, column) && (dot(of, other) > limit[row]! || same(row, column)) ? -1e30 : 0,
        ),
      );
      const scores = towers[rows]!.matmul(towers[columns]!.t()).div(temperature as number);
      return scores.add(Tensor.from(Float64Array.from(mask), { shape: scores.shape }));
    };
    const blocks = [block(0, 1)];
    if (contrastAnchors) blocks.push(block(0, 0));
    if (contrastPositives) blocks.push(block(1, 1));
    for (let tower = 2; tower < towers.length; tower++) blocks.push(block(0, tower));
    const all: Tensor = call('aten::cat', blocks, 1);
    const targets = Tensor.from(
      Array.from({ length: count }, (_, row) => row),
      { dtype: 'int64' },
    );
    return call<Tensor>('aten::cross_entropy_loss', all, targets);
  };
}

const SETTINGS: GISTEmbedOptions[] = [
  {},
  { temperature: 0.1, margin: 0.1 },
  { temperature: 0.1, margin: -0.2, contrastAnchors: false },
  { temperature: 0.1, margin: 0.3, marginStrategy: 'relative', contrastPositives: false },
  { temperature: 0.1, threshold: 0.4, contrastAnchors: false, contrastPositives: false },
  { temperature: 0.001 },
  { temperature: 100, threshold: -0.2 },
];

test("value and gradients are those of plain operators on all scores, by a guide's judgement and by the model's own", async () => {
  for (const [rows, dimension] of SHAPES) {
    const towers = [1, 2, 3].map((seed) => rowsOf(rows, dimension, seed));
    const guide = [4, 5, 6].map((seed) => rowsOf(rows, 4, seed));
    for (const options of SETTINGS) {
      const what = `[${rows}, ${dimension}] ${JSON.stringify(options)}`;
      const given = { guide: guide.map(tensorOf) };
      await assertLikeTwin(gistEmbed(options), plain(guide, options), towers, given, what);
      const own = gistEmbed({ ...options, guide: 'self' });
      await assertLikeTwin(own, plain(towers, options), towers, {}, `${what} by itself`);
    }
  }
});

test('any number of negatives, of any number of rows; several tiles; the same texts twice', async () => {
  const uneven = [rowsOf(6, 5, 1), rowsOf(6, 5, 2), rowsOf(4, 5, 3), rowsOf(9, 5, 4)];
  const guide = [rowsOf(6, 3, 5), rowsOf(6, 3, 6), rowsOf(4, 3, 7), rowsOf(9, 3, 8)];
  const many = [rowsOf(600, 4, 1), rowsOf(600, 4, 2)];
  // Rows 0 and 3 have the same texts. A guide finds their pairs exactly as near as their own.
  const twice = (rows: Rows) => rows.map((row, k) => (k === 3 ? rows[0]! : row));
  const doubled = [rowsOf(6, 5, 1), rowsOf(6, 5, 2)].map(twice);
  const alike = [doubled[0]!, doubled[0]!];
  for (const options of SETTINGS.slice(0, 4)) {
    for (const [what, towers, judge] of [
      ['uneven', uneven, guide],
      ['pairs', uneven.slice(0, 2), guide.slice(0, 2)],
      ['several tiles', many, [rowsOf(600, 3, 3), rowsOf(600, 3, 4)]],
      ['the same texts twice', doubled, doubled],
      ['anchors that are their positives', alike, alike],
    ] as const)
      await assertLikeTwin(
        gistEmbed(options),
        plain(judge, options),
        towers,
        { guide: judge.map(tensorOf) },
        `${what} ${JSON.stringify(options)}`,
      );
  }
});

test('rows that share an identity are no negatives of each other', async () => {
  const towers = [rowsOf(6, 5, 1), rowsOf(6, 5, 2), rowsOf(6, 5, 3), rowsOf(4, 5, 4)];
  const ids = ['a', ['b', 'a'], 7, ['c', 7], 'd', ['b', 8]];
  const shared = [
    [0, 1],
    [1, 5],
    [2, 3],
  ];
  const shares = (row: number, other: number) =>
    shared.some((pair) => pair.includes(row) && pair.includes(other) && row !== other);
  for (const options of SETTINGS) {
    const own = gistEmbed({ ...options, guide: 'self' });
    await assertLikeTwin(
      own,
      plain(towers, { ...options, shares }),
      towers,
      { ids },
      JSON.stringify(options),
    );
  }
});

test('values and gradients are those of other libraries', { skip: vectorsAbsent }, async () => {
  const vectors = vectorsOf('GISTEmbedLoss');
  assert.ok(vectors.length > 20);
  for (const vector of vectors) {
    const { temperature, margin_strategy, margin, contrast_anchors, contrast_positives } = vector.params;
    const loss = gistEmbed({
      temperature: temperature as number,
      marginStrategy: margin_strategy as 'absolute',
      margin: margin as number,
      contrastAnchors: contrast_anchors as boolean,
      contrastPositives: contrast_positives as boolean,
    });
    const { guide } = (vector as unknown as { options: { guide: Rows[] } }).options;
    await assertLikeVector(loss, vector, { guide: guide.map(tensorOf) });
  }
});

test('a guide encodes the raw texts of each tower once in a step', async () => {
  const encoder = await textEncoder('float64');
  const texts = [1, 2].map((tower) => Array.from({ length: 10 }, (_, row) => `text ${tower} ${row}`));
  const judged = texts.map((_, tower) => rowsOf(10, 3, tower));
  const asked: (readonly string[])[] = [];
  const guide: GuideEncoder = {
    encode: (list) => {
      asked.push(list);
      return Promise.resolve(tensorOf(judged[asked.length - 1]!));
    },
  };
  const batches = [tenTexts(1), tenTexts(2)];
  const run = async (options: GISTEmbedOptions, loss: LossOptions) => {
    const chunk = { sequences: 3 };
    const gradcache = new GradCache({ encoders: [encoder, encoder], loss: gistEmbed(options), chunk });
    return (await gradcache.step(batches, { loss })).loss;
  };
  const value = await run({ guide, temperature: 0.1 }, { texts });
  assert.deepEqual(asked, texts);
  assert.equal(value, await run({ temperature: 0.1 }, { guide: judged.map(tensorOf) }));
  // Another model's encoder, of another type and dimension, is a guide as it is.
  const other = await textEncoder('float32', { seed: 5 });
  const ofTokens: GuideEncoder = {
    encode: async (list) => {
      const tower = texts.findIndex((own) => own[0] === list[0]);
      const batch = batches[tower]!;
      const rows = Int32Array.from(list.keys());
      const chunk = { batch, rows, tokens: batch.ids.length };
      return (await other.forwardChunk(chunk, { seed: 0 })).representations;
    },
  };
  assert.ok(Number.isFinite(await run({ guide: ofTokens }, { texts })));
});

test('what does not fit is refused, before anything is encoded', async () => {
  const options: [object, RegExp][] = [
    [{ guide: 'model' }, /guide is "model"; a TextEncoder, .* or "self"/],
    [{ guide: {} }, /guide is {}/],
    [{ temperature: 0 }, /temperature is 0/],
    [{ marginStrategy: 'fixed' }, /marginStrategy is "fixed"; "absolute" or "relative"/],
    [{ margin: '1' }, /margin is "1"/],
    [{ threshold: NaN }, /threshold is NaN/],
    [{ threshold: 0.5, margin: 0.1 }, /margin is 0.1; 0, beside a threshold/],
    [{ contrastAnchors: 'no' }, /contrastAnchors is "no"; true or false/],
    [{ margins: 1 }, /did you mean margin/],
  ];
  for (const [given, message] of options) assert.throws(() => gistEmbed(given), { code: 'INPUT', message });
  const encoder = await textEncoder('float32');
  const ten = Array.from({ length: 10 }, () => 'a');
  const short: GuideEncoder = { encode: () => Promise.resolve(tensorOf(rowsOf(9, 3, 1))) };
  const nothing = { encode: () => Promise.resolve(3) } as unknown as GuideEncoder;
  const refusals: [GISTEmbedOptions, LossOptions, object, boolean?][] = [
    [{}, {}, { code: 'INPUT', message: /guide is undefined; a list with the guide's representations/ }],
    [
      {},
      { guide: [tensorOf(rowsOf(10, 3, 1))] },
      { code: 'SHAPE', message: /guide has 1 entries for 2 towers/ },
    ],
    [{}, { guide: [1, 2] }, { code: 'INPUT', message: /guide\[0\] is 1; a Tensor/ }],
    [
      {},
      { guide: [tensorOf(rowsOf(10, 3, 1)), tensorOf(rowsOf(9, 3, 1))] },
      { code: 'SHAPE', message: /guide\[1\] has shape \[9,3\], expected \[10, dimension\]/ },
    ],
    [{}, { texts: [ten, ten] }, { code: 'INPUT', message: /texts/ }],
    [{ guide: 'self' }, { guide: [] }, { code: 'INPUT', message: /guide/ }],
    [{ guide: 'self' }, { ids: [1] }, { code: 'SHAPE', message: /1 ids for 10 rows/ }],
    [
      { guide: short },
      {},
      { code: 'INPUT', message: /texts is undefined; a list with the texts of each tower/ },
    ],
    [{ guide: short }, { texts: [ten, ['a']] }, { code: 'SHAPE', message: /1 texts\[1\] for 10 rows/ }],
    [
      { guide: short },
      { texts: [ten, [...ten.slice(1), 3]] },
      { code: 'INPUT', message: /texts\[1\]\[9\] is 3/ },
    ],
    [
      { guide: short },
      { texts: [ten, ten] },
      { code: 'SHAPE', message: /returned for tower 0 has shape \[9,3\]/ },
      true,
    ],
    [
      { guide: nothing },
      { texts: [ten, ten] },
      { code: 'INPUT', message: /returned for tower 0 is 3/ },
      true,
    ],
  ];
  for (const [given, loss, error, late = false] of refusals) {
    const gradcache = new GradCache({ encoders: [encoder, encoder], loss: gistEmbed(given) });
    const phases: string[] = [];
    const step = gradcache.step([tenTexts(1), tenTexts(2)], {
      loss,
      onProgress: ({ phase }) => phases.push(phase),
    });
    await assert.rejects(step, error);
    assert.equal(phases.length > 0, late);
  }
});
