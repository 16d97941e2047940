import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  adrMSE,
  binaryCrossEntropy,
  CrossEncoder,
  crossEncoderRanking,
  crossEntropy,
  evaluateReranking,
  flattenScores,
  GradCache,
  lambdaLoss,
  listMLE,
  listNet,
  pListMLE,
  rankNet,
  scoreMarginMSE,
  scoreMSE,
  type LossOptions,
  type LossWithGradients,
  type TextPair,
} from '../../lib/index.js';
import { assertSameGradients, largestDifference, type Numbers } from './compare.js';
import { Oracle, readGradients, type CrossEncoderSettings } from './oracle.js';
import { miniLM } from './python.js';

const device = process.env.GRADCACHE_TEST_DEVICE ?? 'cpu';
const NAMES = [
  ...['bert', 'bert-relu', 'roberta', 'xlm-roberta', 'distilbert', 'mpnet', 'electra'],
  ...['modernbert', 'modernbert-biased', 'deberta-v2', 'deberta-v2-products', 'eurobert', 'albert', 'ernie'],
  ...['nomic_bert', 'gte', 'qwen2', 'qwen3', 'llama', 'mistral', 'gemma2', 'gemma3', 'gemma3-causal'],
];
let oracle: Oracle;
let pairs: TextPair[];
let words: string[];

before(async () => {
  oracle = new Oracle();
  words = await oracle.sentences(21, 40, 1, 12);
  const long = await oracle.sentences(22, 6, 60, 250);
  pairs = [
    ...words.slice(0, 8).map((text, k): TextPair => [text, words[8 + k]!]),
    [long[0]!, 'cat'],
    ['cat', long[1]!],
    [long[2]!, long[3]!],
    ['', 'cat'],
    ['cat', ''],
    [' Cat  dog ', '\tZürich\n'],
  ];
});

after(() => oracle.close());

/** Ids and types first: a score can only be right when they are. */
async function assertSame(folder: string, prompt?: string): Promise<void> {
  const expected = await oracle.pairScores(folder, pairs, { dtype: 'float64', ...(prompt && { prompt }) });
  for (const [precision, tolerance] of [
    ['float32', 1e-5],
    ['float64', 1e-10],
  ] as const) {
    using model = await CrossEncoder.load(folder, { device, precision });
    const how = prompt === undefined ? {} : { prompt: { prefix: prompt } };
    const { ids, offsets, types } = await model.tokenize(pairs, how);
    const cut = (list: Int32Array) =>
      pairs.map((_, row) => [...list.subarray(offsets[row], offsets[row + 1])]);
    assert.deepEqual(cut(ids), expected.ids, 'token ids');
    if (expected.types[0] !== null) assert.deepEqual(types && cut(types), expected.types, 'types');
    else assert.equal(types, undefined);
    assert.equal(model.maxLength, expected.max_length);
    assert.equal(model.activation, expected.activation.toLowerCase());
    const ours = await model.predict(pairs, { ...how, tokensPerChunk: 150 });
    const error = largestDifference(ours, expected.scores.flat());
    assert.ok(error <= tolerance, `${precision}: largest difference ${error}`);
  }
}

for (const name of NAMES) {
  for (const labels of [1, 3]) {
    test(`${name} with ${labels} labels: scores are sentence-transformers', also of the folder that is saved`, async () => {
      const folder = await oracle.saveCrossEncoder(name, `${name}-${labels}`, { labels });
      await assertSame(folder);
      using model = await CrossEncoder.load(folder);
      const saved = oracle.path(`${name}-${labels}-saved`);
      await model.save(saved);
      const expected = await oracle.pairScores(folder, pairs);
      const again = await oracle.pairScores(saved, pairs);
      assert.ok(largestDifference(again.scores.flat(), expected.scores.flat()) < 1e-6);
      assert.equal(again.activation, expected.activation);
      const { logits, wrong } = await oracle.transformersLogits(saved, pairs);
      assert.deepEqual(wrong, []);
      const raw = await model.predict(pairs, { activation: 'identity' });
      assert.ok(largestDifference(logits.flat(), raw) < 1e-5);
      await assertSame(saved);
    });
  }
}

for (const [name, config] of [
  ['modernbert', { classifier_pooling: 'mean', classifier_bias: true, classifier_activation: 'gelu_new' }],
  ['eurobert', { classifier_pooling: 'bos' }],
  ['eurobert', { classifier_pooling: 'mean' }],
  ['deberta-v2', { pooler_hidden_act: 'tanh' }],
] as const) {
  test(`${name} with ${JSON.stringify(config)}`, async () => {
    const folder = `${name}-${Object.values(config).join('-')}`;
    await assertSame(await oracle.saveCrossEncoder(name, folder, { labels: 2, config }));
  });
}

test('a decoder takes the last token that is not padding, wherever a text ends with padding', async () => {
  // Such as of Qwen3-Embedding, whose end of a text is its padding too.
  const folder = await oracle.saveCrossEncoder('qwen3', 'ends-with-padding', { config: { pad_token_id: 3 } });
  const expected = await oracle.pairScores(folder, pairs, { dtype: 'float64' });
  using model = await CrossEncoder.load(folder, { device, precision: 'float64' });
  const ours = await model.predict(pairs);
  assert.ok(largestDifference(ours, expected.scores.flat()) <= 1e-10);
});

const folders: [string, CrossEncoderSettings][] = [
  ['a limit and prompts', { max_length: 21, prompts: { query: 'search: ' } }],
  ['no activation', { activation: 'Identity' }],
  ['tanh', { activation: 'Tanh' }],
];

for (const [title, settings] of folders) {
  test(`a folder that sentence-transformers saved with ${title}, and saved again`, async () => {
    const name = title.replaceAll(' ', '-');
    const folder = await oracle.saveCrossEncoder('bert', name, { by: 'sentence-transformers', ...settings });
    await assertSame(folder);
    await assertSame(folder, 'search: ');
    using model = await CrossEncoder.load(folder);
    const saved = oracle.path(`${name}-saved`);
    await model.save(saved);
    await assertSame(saved);
    assert.deepEqual(model.prompts, settings.prompts ?? {});
  });
}

test('a new head on all-MiniLM-L6-v2 is a cross-encoder that Python opens', async () => {
  using model = await CrossEncoder.load(miniLM, { device, newHead: { seed: 3 } });
  const saved = oracle.path('minilm');
  await model.save(saved);
  await assertSame(saved);
  const { wrong } = await oracle.transformersLogits(saved, pairs);
  assert.deepEqual(wrong, []);
});

/** Compares a cached step with sentence-transformers' loss. Its list losses compute in float32, whatever the model does. */
async function compare(
  name: string,
  loss: LossWithGradients,
  peer: {
    readonly loss: string;
    readonly inputs: readonly unknown[];
    readonly labels?: unknown;
    readonly options?: object;
    readonly classes?: number;
    /** The model; default BERT. */
    readonly model?: string;
  },
  ours: { readonly pairs?: readonly TextPair[]; readonly options: LossOptions; readonly reorder?: boolean },
): Promise<void> {
  const folder = await oracle.saveCrossEncoder(peer.model ?? 'bert', name, { labels: peer.classes ?? 1 });
  const expected = await oracle.pairGradients(folder, peer.loss, peer.inputs, {
    ...(peer.labels !== undefined && { labels: peer.labels }),
    ...(peer.options && { options: peer.options }),
    label_type: peer.classes === undefined ? 'float' : 'long',
  });
  const expectedByName = await readGradients(expected);
  using model = await CrossEncoder.load(folder, { device, precision: 'float64', dropout: 0 });
  const gradcache = new GradCache({ encoders: [model], loss, chunk: { tokens: 100 } });
  const given =
    ours.reorder === true ? byAnchor(expected.pairs, ours.options['lists'] as number[]) : undefined;
  const inputs = given ?? ours.pairs ?? expected.pairs;
  const { loss: value, chunks } = await gradcache.step([model.tokenize(inputs)], { loss: ours.options });
  assert.ok(chunks > 1, 'several chunks');
  assert.ok(Math.abs(value - expected.loss) <= 1e-5 * Math.abs(expected.loss), `${value}, ${expected.loss}`);
  const found = new Map<string, Numbers>();
  for (const { name, tensor } of model.parameters()) {
    const stored = [...expectedByName.keys()].find((each) => each === name || each.endsWith(`.${name}`));
    assert.ok(stored !== undefined, name);
    found.set(stored, (await tensor.grad!.values()) as Float64Array);
  }
  assertSameGradients(found, expectedByName, 1e-5, name);
}

/** sentence-transformers encodes all positives, then all first negatives, and so on. */
function byAnchor(blocks: readonly [string, string][], lists: readonly number[]): TextPair[] {
  const anchors = lists.length;
  return lists.flatMap((length, anchor) =>
    Array.from({ length }, (_, place): TextPair => blocks[place * anchors + anchor]!),
  );
}

for (const [peer, negatives, columns] of [
  ['MultipleNegativesRankingLoss', 4, 2],
  ['CachedMultipleNegativesRankingLoss', 3, 3],
  ['CachedMultipleNegativesRankingLoss', null, 3],
] as const) {
  test(`crossEncoderRanking is ${peer} with ${negatives ?? 'all'} negatives and ${columns} columns`, async () => {
    const inputs = Array.from({ length: columns }, (_, column) => words.slice(6 * column, 6 * column + 6));
    const drawn = negatives ?? 6 * (columns - 1) - (columns - 1);
    const lists = inputs[0]!.map(() => 1 + drawn + columns - 2);
    const cached = peer.startsWith('Cached') ? { mini_batch_size: 4 } : {};
    await compare(
      `ranking-${peer}-${negatives}`,
      crossEncoderRanking(),
      { loss: peer, inputs, options: { num_negatives: negatives, ...cached } },
      { options: { lists }, reorder: true },
    );
  });
}

const two = () => [words.slice(0, 9), words.slice(9, 18)];
const labels = [0, 1, 1, 0.5, 0, 1, 0, 0.25, 1];

test('binaryCrossEntropy is BinaryCrossEntropyLoss', async () => {
  await compare(
    'bce',
    binaryCrossEntropy({ positiveWeight: 3 }),
    { loss: 'BinaryCrossEntropyLoss', inputs: two(), labels, options: { pos_weight: 3 } },
    { options: { labels } },
  );
});

for (const model of ['modernbert-biased', 'deberta-v2', 'eurobert', 'albert', 'qwen3', 'gemma3']) {
  test(`gradients of a cross-encoder of ${model}`, async () => {
    const peer = { loss: 'BinaryCrossEntropyLoss', inputs: two(), labels, model };
    await compare(`gradients-${model}`, binaryCrossEntropy(), peer, { options: { labels } });
  });
}

test('crossEntropy is CrossEntropyLoss', async () => {
  const classes = [0, 2, 1, 1, 0, 2, 2, 0, 1];
  await compare(
    'ce',
    crossEntropy({ labelSmoothing: 0.1 }),
    {
      loss: 'CrossEntropyLoss',
      inputs: two(),
      labels: classes,
      classes: 3,
      options: { label_smoothing: 0.1 },
    },
    { options: { labels: classes } },
  );
});

test('scoreMSE is MSELoss', async () => {
  await compare(
    'mse',
    scoreMSE({ activation: 'sigmoid' }),
    { loss: 'MSELoss', inputs: two(), labels, options: { activation_fn: 'Sigmoid' } },
    { options: { labels } },
  );
});

for (const scores of [false, true]) {
  test(`scoreMarginMSE is MarginMSELoss with ${scores ? 'scores' : 'margins'}`, async () => {
    const inputs = Array.from({ length: 4 }, (_, column) => words.slice(5 * column, 5 * column + 5));
    const nested = inputs[0]!.map((_, row) =>
      Array.from({ length: scores ? 3 : 2 }, (_, k) => Math.sin(7 * row + k)),
    );
    await compare(
      `margin-${scores}`,
      scoreMarginMSE(),
      { loss: 'MarginMSELoss', inputs: inputs.slice(0, 4), labels: nested },
      { options: { lists: inputs[0]!.map(() => 3), labels: nested.flat() }, reorder: true },
    );
  });
}

const lists = [4, 1, 7, 2, 3];
const relevance = [3, 0, 1, 0, 2, 0, 0, 3, 1, 1, 2, 0, 0, 1, 2, 2, 1];
const cutLists = <T>(values: readonly T[]): T[][] => {
  let begin = 0;
  return lists.map((length) => values.slice(begin, (begin += length)));
};

const listwise: [string, LossWithGradients, string, object?][] = [
  ['lambdaLoss', lambdaLoss(), 'LambdaLoss'],
  ...(
    [
      ['none', null],
      ['ndcg1', 'NDCGLoss1Scheme'],
      ['ndcg2', 'NDCGLoss2Scheme'],
      ['lambdaRank', 'LambdaRankScheme'],
    ] as const
  ).map(([weighting, scheme]): [string, LossWithGradients, string, object] => [
    `lambdaLoss ${weighting}`,
    lambdaLoss({ weighting, k: 2, sigma: 1.5, logarithm: 'natural' }),
    'LambdaLoss',
    { weighting_scheme: scheme, k: 2, sigma: 1.5, reduction_log: 'natural' },
  ]),
  ['rankNet', rankNet(), 'RankNetLoss'],
  ['listNet', listNet(), 'ListNetLoss'],
  ['listMLE', listMLE(), 'ListMLELoss'],
  ['listMLE by labels', listMLE({ order: 'labels' }), 'ListMLELoss', { respect_input_order: false }],
  ['pListMLE', pListMLE(), 'PListMLELoss'],
  ['adrMSE', adrMSE({ alpha: 2 }), 'ADRMSELoss', { alpha: 2 }],
];

for (const [title, loss, peer, options] of listwise) {
  test(`${title} is ${peer} of lists of different lengths`, async () => {
    const documents = words.slice(8, 8 + relevance.length);
    const inputs = [words.slice(0, lists.length), cutLists(documents)];
    // The peer's sort on a GPU leaves equal labels in any order.
    const labels = title.includes('by labels') ? relevance.map((label, k) => label - k / 100) : relevance;
    await compare(
      title.replaceAll(' ', '-'),
      loss,
      { loss: peer, inputs, labels: cutLists(labels), options: { mini_batch_size: -1, ...options } },
      { options: { lists, labels } },
    );
  });
}

for (const [title, options] of [
  ['negatives', {}],
  ['documents of a first stage', { at: 3 }],
  ['documents alone', { always_rerank_positives: false }],
] as const) {
  test(`reranking with ${title} is measured as by CrossEncoderRerankingEvaluator`, async () => {
    const folder = await oracle.saveCrossEncoder('bert', `reranking-${title.replaceAll(' ', '-')}`);
    const queries = [0, 1, 2, 3].map((query) => {
      const positive = words.slice(8 * query, 8 * query + 1 + (query % 3));
      const others = words.slice(8 * query + 3, 8 * query + 8);
      if (title === 'negatives') return { query: words[39 - query]!, positive, negative: others };
      // One positive is lacking, and of the last query all are.
      const found = query === 3 ? others : [others[0]!, positive[0]!, ...others.slice(1)];
      return { query: words[39 - query]!, positive, documents: found };
    });
    const expected = await oracle.reranking(folder, queries, options);
    using model = await CrossEncoder.load(folder, { precision: 'float64', device });
    const scores = await evaluateReranking(
      model,
      { queries },
      {
        at: 'at' in options ? options.at : 10,
        alwaysRerankPositives: !('always_rerank_positives' in options),
        block: 7,
      },
    );
    const found = flattenScores(scores);
    assert.deepEqual(Object.keys(found).sort(), Object.keys(expected).sort());
    for (const [name, value] of Object.entries(expected))
      assert.ok(Math.abs(found[name]! - value) < 1e-9, `${name}: ${found[name]}, in Python ${value}`);
  });
}
