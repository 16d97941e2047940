import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { CrossEncoder, exportOnnx, TextEncoder, Tokenizer, type OnnxFile } from '../../lib/index.js';
import { graphOf, readModelSource } from '../../lib/onnx/model-source.js';
import { writeOnnx } from '../../lib/onnx/model-file.js';
import { largestDifference, type Numbers } from './compare.js';
import { architectures, Oracle, type ModuleDescription } from './oracle.js';
import { miniLM } from './python.js';

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

/** What the graph of a folder gives, with padding at each side. */
async function exported(
  folder: string,
  ids: readonly (readonly number[])[],
  options: { types?: number[][] } = {},
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

async function assertSame(folder: string, given = texts): Promise<void> {
  const { ids, values } = await ours(folder, given);
  const { right, left } = await exported(folder, ids);
  assertNear(right.outputs.sentence_embedding, values);
  assertNear(left.outputs.sentence_embedding, values);
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
    const out = oracle.path('minilm');
    await exportOnnx(miniLM, out, { precisions: ['float32', 'float16'] });
    const wide = await oracle.runGraph(join(out, 'onnx', 'model.onnx'), ids);
    assert.deepEqual(wide.inputs, ['input_ids', 'attention_mask', 'token_type_ids']);
    assertNear(wide.outputs.sentence_embedding, values, 1e-6);
    const half = await oracle.runGraph(join(out, 'onnx', 'model_fp16.onnx'), ids);
    assertNear(half.outputs.sentence_embedding, values, 1e-3);
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

for (const name of ['bert', 'roberta', 'distilbert', 'mpnet', 'electra'])
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

test('weights in a side file', async () => {
  const folder = await words();
  const { ids, values } = await ours(folder, texts);
  const source = await readModelSource(folder, {});
  const path = oracle.path('aside.onnx');
  const { sideFile } = await writeOnnx(path, graphOf(source, 'float32'), { most: 1000 });
  assert.equal(sideFile, 'aside.onnx_data');
  assert.ok((await stat(path)).size < (await stat(`${path}_data`)).size);
  assertNear((await oracle.runGraph(path, ids)).outputs.sentence_embedding, values);
});
