import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { writeSafetensors, type StoredTensor } from '../../lib/safetensors/safetensors.js';
import {
  GradCache,
  infoNCE,
  readSafetensors,
  Tensor,
  TextEncoder,
  type LoraOptions,
} from '../../lib/index.js';
import { assertSameGradients, largestDifference, type Numbers } from './compare.js';
import { Oracle, readGradients, type AdapterSettings } from './oracle.js';

const device = process.env.GRADCACHE_TEST_DEVICE ?? 'cpu';
const ROWS = 6;
let oracle: Oracle;
let columns: string[][];

before(async () => {
  oracle = new Oracle();
  const texts = await oracle.sentences(41, 2 * ROWS, 1, 30);
  columns = [texts.slice(0, ROWS), texts.slice(ROWS)];
});

after(() => oracle.close());

/** Adapters of a model, as PEFT's settings say them and as ours do. */
const CASES: [model: string, theirs: AdapterSettings, ours: LoraOptions][] = [
  ['bert', { r: 4, lora_alpha: 8 }, { rank: 4, alpha: 8 }],
  [
    'roberta',
    {
      r: 4,
      lora_alpha: 6,
      use_rslora: true,
      target_modules: 'all-linear',
      exclude_modules: ['pooler.dense'],
    },
    { rank: 4, alpha: 6, rankStabilized: true, targetModules: 'all-linear', excludeModules: ['key'] },
  ],
  [
    'distilbert',
    { r: 3, lora_alpha: 5, target_modules: ['q_lin', 'lin1', 'lin2'], layers_to_transform: [0, 2] },
    { rank: 3, alpha: 5, targetModules: ['q_lin', 'lin1', 'lin2'], layers: [0, 2] },
  ],
  [
    'mpnet',
    { r: 2, lora_alpha: 2, target_modules: '.*attn\\.[qkvo]', bias: 'lora_only' },
    { rank: 2, targetModules: '.*attn\\.[qkvo]', bias: 'lora_only' },
  ],
  [
    'electra',
    {
      ...{ r: 3, lora_alpha: 4, target_modules: ['key', 'dense', 'embeddings_project'], bias: 'all' },
      ...{ rank_pattern: { key: 5, 'layer.1.*dense': 2 }, alpha_pattern: { '^encoder.layer.0.*': 7 } },
    },
    {
      ...{ rank: 3, alpha: 4, targetModules: ['key', 'dense', 'embeddings_project'], bias: 'all' },
      ...{ rankPattern: { key: 5, 'layer.1.*dense': 2 }, alphaPattern: { '^encoder.layer.0.*': 7 } },
    },
  ],
  [
    'xlm-roberta',
    {
      r: 4,
      lora_alpha: 8,
      target_modules: ['value'],
      modules_to_save: ['output.dense', 'embeddings.LayerNorm'],
    },
    { rank: 4, alpha: 8, targetModules: ['value'], modulesToSave: ['output.dense', 'embeddings.LayerNorm'] },
  ],
];

/** Models whose checkpoints name modules otherwise, and keys that are narrower than queries. */
CASES.push(
  [
    'nomic_bert',
    { r: 3, lora_alpha: 6, target_modules: ['q_proj', 'v_proj', 'gate_proj', 'o_proj'] },
    { rank: 3, alpha: 6, targetModules: ['q_proj', 'v_proj', 'gate_proj', 'o_proj'] },
  ],
  [
    'gte',
    { r: 4, lora_alpha: 4, target_modules: 'all-linear', exclude_modules: ['pooler.dense'], bias: 'all' },
    { rank: 4, bias: 'all', modulesToSave: ['embeddings.LayerNorm'] },
  ],
  [
    'qwen3',
    { r: 2, lora_alpha: 4, target_modules: 'all-linear' },
    { rank: 2, alpha: 4, targetModules: 'all-linear' },
  ],
);

const flat = (rows: readonly (readonly number[])[]): number[] => rows.flat();

async function assertEncodes(encoder: TextEncoder, expected: readonly (readonly number[])[]): Promise<void> {
  const rows = await encoder.encode(columns[0]!);
  const difference = largestDifference((await rows.values()) as Float32Array, flat(expected));
  rows.dispose();
  assert.ok(difference < 1e-5, `representations differ by ${difference}`);
}

/** The gradients of what is trained, by our names. */
function trainedOnly(
  gradients: ReadonlyMap<string, Numbers>,
  trained: readonly string[],
): Map<string, Numbers> {
  const ours = Array.from(gradients, ([name, values]): [string, Numbers] => [
    name.replace('.default.', '.').replace('.base_layer.', '.').replace('.modules_to_save.', '.'),
    values,
  ]);
  return new Map(ours.filter(([name]) => trained.includes(name)));
}

async function assertGradients(folder: string): Promise<void> {
  const expected = await readGradients(
    await oracle.gradients(folder, columns, { dtype: 'float64', temperature: 0.1 }),
  );
  for (const [precision, tolerance] of [
    ['float32', 1e-5],
    ['float64', 1e-9],
  ] as const) {
    using encoder = await TextEncoder.load(folder, { device, dropout: 0, precision });
    const loss = infoNCE({ temperature: 0.1 });
    const gradcache = new GradCache({ encoders: [encoder, encoder], loss, chunk: { tokens: 60 } });
    await gradcache.step(columns.map((texts) => encoder.tokenize(texts)));
    const gradients = new Map<string, Numbers>();
    for (const { name, tensor } of encoder.parameters())
      gradients.set(name, (await tensor.grad!.values()) as Float32Array | Float64Array);
    assert.ok(gradients.size > 0);
    assertSameGradients(gradients, trainedOnly(expected, [...gradients.keys()]), tolerance, precision);
  }
}

for (const [model, theirs] of CASES) {
  for (const by of ['sentence-transformers', 'peft'] as const) {
    if (by === 'peft' && !['roberta', 'mpnet', 'nomic_bert', 'gte'].includes(model)) continue;
    test(`${model}: an adapter that ${by} saved is read, its gradients are those of Python, and it is saved for it`, async () => {
      const base = await oracle.saveTransformer(model, `${model}-base`);
      const folder = await oracle.saveAdapter(base, `${model}-${by}`, { by, ...theirs });
      // Alone, PEFT saves no tokenizer: sentence-transformers does not open the folder.
      const { embeddings: inPython } =
        by === 'peft'
          ? await oracle.embedByPeft(base, folder, columns[0]!)
          : await oracle.embed(folder, columns[0]!);
      using encoder = await TextEncoder.load(folder, { device, dropout: 0 });
      await assertEncodes(encoder, inPython);

      if (by === 'sentence-transformers') await assertGradients(folder);

      const saved = oracle.path(`${model}-${by}-again`);
      await encoder.save(saved);
      const [before, now] = await Promise.all(
        [folder, saved].map((each) => readSafetensors(`${each}/adapter_model.safetensors`)),
      );
      assert.deepEqual([...now!.keys()].sort(), [...before!.keys()].sort());
      const again = (await oracle.embed(saved, columns[0]!)).embeddings;
      // PEFT's are of float64.
      const difference = largestDifference(flat(again), flat(inPython));
      assert.ok(difference < (by === 'peft' ? 1e-5 : 1e-6), `saved again, they differ by ${difference}`);

      using merged = await encoder.merge();
      await assertEncodes(merged, inPython);
      await merged.save(oracle.path(`${model}-merged`));
      const whole = (await oracle.embed(oracle.path(`${model}-merged`), columns[0]!)).embeddings;
      assert.ok(largestDifference(flat(whole), flat(inPython)) < 1e-5);
    });
  }
}

for (const [model, , ours] of CASES) {
  test(`${model}: a new adapter, once trained, is opened by PeftModel and by sentence-transformers`, async () => {
    const base = await oracle.saveTransformer(model, `${model}-base`);
    using encoder = await TextEncoder.load(base, { device, lora: ours, seed: 5 });
    using plain = await TextEncoder.load(base, { device });
    const [untrained, own] = [await encoder.encode(columns[0]!), await plain.encode(columns[0]!)];
    assert.deepEqual(await untrained.values(), await own.values());
    for (const { tensor } of encoder.parameters()) {
      const before = (await tensor.values()) as Float32Array;
      tensor.copyFrom(
        Tensor.from(
          before.map((value, k) => value + 0.05 * Math.sin(k + 1)),
          { shape: tensor.shape },
        ),
      );
    }
    const folder = oracle.path(`${model}-new`);
    await encoder.save(folder);
    const rows = await encoder.encode(columns[0]!);
    const expected = Array.from((await rows.values()) as Float32Array);
    const byPeft = await oracle.embedByPeft(base, folder, columns[0]!);
    for (const { embeddings } of [await oracle.embed(folder, columns[0]!), byPeft])
      assert.ok(largestDifference(flat(embeddings), expected) < 1e-5);
    assert.deepEqual(
      byPeft.trained
        .map((name) =>
          name
            .replace('base_model.model.', '')
            .replace('.default.', '.')
            .replace('.base_layer.', '.')
            .replace('.modules_to_save.', '.'),
        )
        .filter((name) => !name.startsWith('pooler.'))
        .sort(),
      encoder
        .parameters()
        .map(({ name }) => name)
        .sort(),
    );
  });
}

test('an adapter of a packed matrix, as the code beside a checkpoint has it, is read, saved and merged', async () => {
  const base = await oracle.saveTransformer('nomic_bert', 'nomic_bert-base');
  const folder = oracle.path('nomic_bert-packed');
  await mkdir(folder);
  const weights = await readSafetensors(`${base}/model.safetensors`);
  const layers = [...weights.keys()].flatMap((name) => /^.*\.Wqkv(?=\.weight$)/.exec(name) ?? []);
  assert.ok(layers.length > 0);
  const part = (rows: number, columns: number): StoredTensor => ({
    ...{ dtype: 'float32', shape: [rows, columns] },
    bytes: new Uint8Array(
      Float32Array.from({ length: rows * columns }, (_, k) => Math.sin(k + 1) / 5).buffer,
    ),
  });
  const tensors = layers.flatMap((layer): [string, StoredTensor][] => {
    const [rows = 0, columns = 0] = weights.get(`${layer}.weight`)!.shape;
    const module = `base_model.model.${layer.slice(layer.indexOf('encoder.'))}`;
    return [
      [`${module}.lora_A.weight`, part(2, columns)],
      [`${module}.lora_B.weight`, part(rows, 2)],
    ];
  });
  await writeSafetensors(`${folder}/adapter_model.safetensors`, tensors);
  const config = { peft_type: 'LORA', r: 2, lora_alpha: 4, target_modules: ['Wqkv'] };
  await writeFile(
    `${folder}/adapter_config.json`,
    JSON.stringify({ ...config, base_model_name_or_path: base }),
  );
  using encoder = await TextEncoder.load(folder, { device });
  using merged = await encoder.merge();
  using plain = await TextEncoder.load(base, { device });
  const [adapted, whole, without] = await Promise.all(
    [encoder, merged, plain].map(async (each) => {
      using rows = await each.encode(columns[0]!);
      return (await rows.values()) as Float32Array;
    }),
  );
  assert.ok(largestDifference(adapted!, whole!) < 1e-5);
  assert.ok(largestDifference(adapted!, without!) > 1e-2);
  const saved = oracle.path('nomic_bert-packed-again');
  await encoder.save(saved);
  const again = await readSafetensors(`${saved}/adapter_model.safetensors`);
  assert.deepEqual([...again.keys()].sort(), tensors.map(([name]) => name).sort());
});

test('an adapter with DoRA is refused with the reason', async () => {
  const base = await oracle.saveTransformer('bert', 'bert-dora-base');
  const folder = await oracle.saveAdapter(base, 'bert-dora', { r: 2, lora_alpha: 2, use_dora: true });
  await assert.rejects(
    TextEncoder.load(folder),
    /use_dora is true; false is needed\. DoRA is not supported: .*magnitudes/,
  );
});
