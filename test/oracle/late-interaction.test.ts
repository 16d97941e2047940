import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  AdamW,
  GradCache,
  multiVectorDistillKLDiv,
  multiVectorMarginMSE,
  multiVectorMultipleNegativesRanking,
  TextEncoder,
  type InteractionOptions,
  type LossWithGradients,
} from '../../lib/index.js';
import { distance, largestDifference, norm } from './compare.js';
import { Oracle, readGradients, type MultiVectorLossSettings, type MultiVectorSettings } from './oracle.js';

const device = process.env.GRADCACHE_TEST_DEVICE ?? 'cpu';
let oracle: Oracle;
let texts: string[];

before(async () => {
  oracle = new Oracle();
  texts = await oracle.sentences(11, 24, 1, 20);
});

after(() => oracle.close());

const MODELS: readonly [string, string, MultiVectorSettings][] = [
  ['a bare transformer', 'bert', { normalize: false }],
  [
    'a projection, prompts and words that are left out',
    'bert',
    {
      width: 8,
      skipped: ['.', ',', 'of', 'the', 'in'],
      prompts: { query: 'the ', document: 'in ' },
      similarity: 'meanmaxsim',
    },
  ],
  [
    'expanded queries',
    'mpnet',
    {
      width: 8,
      expansion: { strategy: 'fixed', attend: true, length: 12 },
      document_length: 10,
    },
  ],
  [
    'expanded queries whose expansion nothing attends to',
    'bert',
    {
      width: 8,
      expansion: { strategy: 'fixed', attend: false, length: 12 },
    },
  ],
  [
    'queries of a least length',
    'roberta',
    {
      width: 5,
      expansion: { strategy: 'min', attend: true, length: 9, token: '</s>' },
      query_length: 11,
    },
  ],
];

for (const [title, name, settings] of MODELS)
  test(`${title}: the tokens' representations are those of sentence-transformers, also once saved`, async () => {
    const folder = await oracle.saveMultiVector(name, `model-${name}-${settings.width ?? 0}`, settings);
    const encoder = await TextEncoder.load(folder, { device });
    assert.equal(encoder.perToken, true);
    assert.equal(encoder.similarity, settings.similarity ?? 'maxsim');
    const saved = `${folder}-saved`;
    await encoder.save(saved);
    for (const of of [folder, saved])
      for (const task of ['query', 'document'] as const) {
        const { embeddings, similarity } = await oracle.embedTokens(of, texts, task);
        assert.equal(similarity, settings.similarity ?? 'maxsim');
        const prompt = encoder.prompts[task] === undefined ? '' : task;
        const { representations, offsets } = await encoder.encodeTokens(texts, { task, prompt });
        assert.deepEqual(
          Array.from({ length: texts.length }, (_, k) => offsets[k + 1]! - offsets[k]!),
          embeddings.map(({ length }) => length),
          task,
        );
        const expected = embeddings.flat(2);
        const ours = (await representations.values()) as Float32Array;
        assert.ok(largestDifference(ours, expected) <= 1e-5 * Math.max(1, ...expected.map(Math.abs)), task);
      }
  });

/** Kinds whose attention differs; queries of some are farther from their expansion than a layer sees, which then gives 0. */
const UNATTENDED: readonly (readonly [string, number])[] = [
  ['roberta', 12],
  ['distilbert', 12],
  ['mpnet', 12],
  ['electra', 12],
  ['modernbert', 24],
  ['qwen3', 12],
  ['mistral', 24],
  ['eurobert', 12],
  ['gemma3', 30],
  ['albert', 12],
  ['t5', 12],
  ['nomic_bert', 12],
  ['gte', 12],
];

for (const [name, length] of UNATTENDED)
  test(`${name}: expansion that nothing attends to`, async () => {
    const expansion = { strategy: 'min', attend: false, length };
    const folder = await oracle.saveMultiVector(name, `unattended-${name}`, { width: 5, expansion });
    using encoder = await TextEncoder.load(folder, { device });
    const { embeddings } = await oracle.embedTokens(folder, texts, 'query');
    const { representations } = await encoder.encodeTokens(texts, { task: 'query' });
    const ours = (await representations.values()) as Float32Array;
    assert.ok(largestDifference(ours, embeddings.flat(2)) <= 1e-5);
  });

test('models whose tokens always have a part in the others are refused where nothing is to attend to some', async () => {
  const expansion = { strategy: 'min', attend: false, length: 12 };
  const folder = await oracle.saveMultiVector('deberta-v2', 'unattended-deberta', { width: 5, expansion });
  await assert.rejects(TextEncoder.load(folder), { code: 'CHECKPOINT', message: /attend .*deberta-v2/ });
});

const MARKED = { query_prefix: '[Q] ', document_prefix: '[D] ' };
const OLDER: readonly [string, 'pylate' | 'pylate-unnamed' | 'stanford', Record<string, unknown> | null][] = [
  [
    'PyLate with all its settings',
    'pylate',
    {
      ...MARKED,
      query_length: 9,
      document_length: 14,
      attend_to_expansion_tokens: true,
      skiplist_words: ['of', '.'],
    },
  ],
  [
    'PyLate with prompts, and without expansion',
    'pylate',
    {
      ...MARKED,
      prompts: { query: '[Q] cat ', document: 'dog ' },
      query_length: 7,
      do_query_expansion: false,
    },
  ],
  ['PyLate with the defaults', 'pylate', MARKED],
  ['PyLate before it named its models', 'pylate-unnamed', { ...MARKED, query_length: 10 }],
  [
    'ColBERT with its settings',
    'stanford',
    {
      query_maxlen: 11,
      doc_maxlen: 13,
      mask_punctuation: false,
      attend_to_mask_tokens: true,
      query_token_id: '[unused1]',
      doc_token_id: '[unused0]',
    },
  ],
  ['ColBERT without settings', 'stanford', null],
];

for (const [title, kind, config] of OLDER)
  test(`${title}: its folder gives what sentence-transformers makes of it, also once saved`, async () => {
    const folder = await oracle.saveOlder('bert', kind, config);
    using encoder = await TextEncoder.load(folder, { device });
    const saved = `${folder}-saved`;
    await encoder.save(saved);
    using again = await TextEncoder.load(saved, { device });
    for (const task of ['query', 'document'] as const) {
      const { embeddings } = await oracle.embedTokens(folder, texts, task);
      const ofSaved = await oracle.embedTokens(saved, texts, task);
      for (const [of, theirs] of [
        [encoder, embeddings],
        [again, embeddings],
        [encoder, ofSaved.embeddings],
      ] as const) {
        const { representations, offsets } = await of.encodeTokens(texts, { task, prompt: task });
        assert.deepEqual(
          Array.from({ length: texts.length }, (_, k) => offsets[k + 1]! - offsets[k]!),
          theirs.map(({ length }) => length),
          task,
        );
        const ours = (await representations.values()) as Float32Array;
        assert.ok(largestDifference(ours, theirs.flat(2)) <= 1e-5, task);
      }
    }
  });

/** Numbers that a teacher might give for the candidates of each query. */
const taught = (queries: number, candidates: number): number[][] =>
  Array.from({ length: queries }, (_, row) =>
    Array.from({ length: candidates }, (_, k) => 3 * Math.cos(row * 2 + 5 * k)),
  );

const LOSSES: readonly [string, LossWithGradients, MultiVectorLossSettings][] = [
  ...(['maxsim', 'meanmaxsim', 'xtr'] as const).flatMap(
    (similarity): [string, LossWithGradients, MultiVectorLossSettings][] => {
      const ours: InteractionOptions = similarity === 'xtr' ? { similarity, topK: 12 } : { similarity };
      const theirs = { similarity, top_k: 12 };
      return [
        ['ranking', multiVectorMultipleNegativesRanking({ ...ours, scale: 1.5 }), { ...theirs, scale: 1.5 }],
        ['cached ranking', multiVectorMultipleNegativesRanking(ours), { ...theirs, cached: true }],
        [
          'KL',
          multiVectorDistillKLDiv({ ...ours, temperature: 0.5 }),
          { ...theirs, kind: 'kl', temperature: 0.5, labels: taught(6, 3) },
        ],
        ['margins', multiVectorMarginMSE(ours), { ...theirs, kind: 'margin', labels: taught(6, 2) }],
      ];
    },
  ),
];

test('losses and the gradients of all parameters are those of sentence-transformers', async () => {
  const folder = await oracle.saveMultiVector('bert', 'losses', {
    width: 8,
    skipped: ['.', ',', 'of', 'the'],
  });
  const expanded = await oracle.saveMultiVector('bert', 'losses-expanded', {
    width: 8,
    expansion: { strategy: 'fixed', attend: false, length: 16 },
  });
  const columns = [0, 6, 12, 18].map((begin) => texts.slice(begin, begin + 6));
  const cases = [
    ...LOSSES.map((of) => [folder, ...of] as const),
    ...LOSSES.slice(0, 1).map((of) => [expanded, ...of] as const),
  ];
  for (const [folder, name, loss, settings] of cases) {
    const title = `${name}, ${settings.similarity}`;
    const used = settings.labels === undefined ? columns.slice(0, 3) : columns;
    const theirs = await oracle.multiVectorGradients(folder, used, settings);
    const encoder = await TextEncoder.load(folder, { device, dropout: 0 });
    const gradcache = new GradCache({
      encoders: used.map(() => encoder),
      loss,
      chunk: { sequences: 4 },
    });
    const inputs = used.map((column, k) =>
      encoder.tokenize(column, { task: k === 0 ? 'query' : 'document' }),
    );
    const { labels } = settings;
    const result = await gradcache.step(inputs, labels === undefined ? {} : { loss: { labels } });
    assert.ok(
      Math.abs(result.loss - theirs.loss) <= 1e-5 * Math.abs(theirs.loss),
      `${title}: loss ${result.loss} for ${theirs.loss}`,
    );
    const expected = await readGradients(theirs);
    const whole = norm(Float64Array.from([...expected.values()].map(norm)));
    for (const { name: parameter, tensor } of encoder.parameters()) {
      const wanted = expected.get(parameter);
      if (wanted === undefined) continue;
      const found = (await tensor.grad!.values()) as Float32Array;
      const error = distance(found, wanted);
      // The bias of keys has no gradient but for rounding.
      assert.ok(error <= 1e-4 * norm(wanted) + 1e-6 * whole, `${title}: ${parameter} is off by ${error}`);
    }
    encoder.dispose();
  }
});

test('a model that pools becomes one with a representation for each token, trains, and is opened in Python', async () => {
  const source = await oracle.saveSentenceTransformer('bert', 'pooled', { pooling: 'mean', normalize: true });
  const encoder = await TextEncoder.load(source, { device, pooling: 'none', projection: 6, seed: 2 });
  const gradcache = new GradCache({
    encoders: [encoder, encoder],
    loss: multiVectorMultipleNegativesRanking(),
    chunk: { tokens: 64 },
  });
  await gradcache.step([
    encoder.tokenize(texts.slice(0, 12), { task: 'query' }),
    encoder.tokenize(texts.slice(12), { task: 'document' }),
  ]);
  await new AdamW(encoder.parameters(), { lr: 1e-3 }).step();
  const folder = oracle.path('made');
  await encoder.save(folder);
  const { embeddings, similarity } = await oracle.embedTokens(folder, texts, 'document');
  assert.equal(similarity, 'maxsim');
  const { representations } = await encoder.encodeTokens(texts, { task: 'document' });
  assert.ok(largestDifference((await representations.values()) as Float32Array, embeddings.flat(2)) <= 1e-5);
});
