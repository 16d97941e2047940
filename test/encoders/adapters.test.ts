import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  AdamW,
  call,
  exportOnnx,
  GradCache,
  infoNCE,
  readSafetensors,
  Tensor,
  TextEncoder,
  type CreateOptions,
  type LoadOptions,
  type LoraOptions,
} from '../../lib/index.js';
import { smallTokenizer } from '../exactness/small-tokenizer.js';
import { tenTexts } from '../exactness/support.js';
import { filesOf, HubServer } from '../hub/hub-server.js';
import { fails } from '../robustness/failures.js';
import { writeSafetensors } from '../../lib/safetensors/safetensors.js';

const device = process.env.GRADCACHE_TEST_DEVICE ?? 'cpu';
let folder: string;
const base = (name = 'bert') => join(folder, name);

const CONFIGS: Readonly<Record<string, object>> = {
  bert: {
    model_type: 'bert',
    hidden_size: 24,
    num_hidden_layers: 3,
    num_attention_heads: 3,
    intermediate_size: 40,
  },
  mpnet: {
    model_type: 'mpnet',
    hidden_size: 24,
    num_hidden_layers: 2,
    num_attention_heads: 3,
    intermediate_size: 40,
  },
  srupp: { model_type: 'srupp', hidden_size: 24, num_hidden_layers: 2, attention_size: 8 },
};

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gradcache-adapters-'));
  const tokenizer = await smallTokenizer(97);
  for (const [name, config] of Object.entries(CONFIGS)) {
    using encoder = TextEncoder.create(
      { vocab_size: 97, max_position_embeddings: 40, ...config },
      tokenizer,
      { seed: 4 },
    );
    await encoder.save(base(name));
  }
});
after(() => rm(folder, { recursive: true }));

const load = (lora: LoraOptions, options: LoadOptions = {}, name = 'bert') =>
  TextEncoder.load(base(name), { device, lora, seed: 3, ...options });

/** Adapters that add something, as training leaves them. */
function disturb(encoder: TextEncoder): void {
  for (const { tensor } of encoder.parameters()) {
    const values = Float64Array.from(
      { length: tensor.shape.reduce((a, b) => a * b, 1) },
      (_, k) => 0.1 * Math.sin(k + 1),
    );
    const given = Tensor.from(values, { shape: tensor.shape });
    tensor.copyFrom(given);
    given.dispose();
  }
}

async function values(tensor: Tensor): Promise<number[]> {
  return Array.from((await tensor.values()) as Float32Array);
}

/** The gradients of one cached step by name, with dropout under the seed. */
async function gradients(encoder: TextEncoder, sequences = 4): Promise<Map<string, number[]>> {
  const loss = infoNCE({ temperature: 0.1 });
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss, chunk: { sequences }, seed: 2 });
  await gradcache.step([tenTexts(1), tenTexts(2)]);
  const named = new Map<string, number[]>();
  for (const { name, tensor } of encoder.parameters()) named.set(name, await values(tensor.grad!));
  return named;
}

const CASES: readonly [model: string, lora: LoraOptions][] = [
  ['bert', { rank: 4 }],
  [
    'bert',
    { rank: 2, alpha: 6, targetModules: 'all-linear', rankPattern: { key: 3, 'layer.1.output.dense': 5 } },
  ],
  ['mpnet', { rank: 3, targetModules: ['k', 'o', 'dense'], layers: [1], rankStabilized: true }],
  ['srupp', { rank: 2, alpha: 3 }],
];

for (const [model, lora] of CASES) {
  const what = `${model}, ${JSON.stringify(lora)}`;

  test(`${what}: gradients are those of the merged matrices by the chain rule, in chunks of any size`, async () => {
    using encoder = await load(lora, { precision: 'float64', dropout: 0 }, model);
    disturb(encoder);
    using merged = await encoder.merge();
    const whole = await gradients(merged, 20);
    const inChunks = await gradients(encoder, 1);
    for (const { tensor } of encoder.parameters()) call('aten::zero_', tensor.grad!).dispose();
    const atOnce = await gradients(encoder, 20);
    const weights = new Map(encoder.parameters().map(({ name, tensor }) => [name, tensor]));
    assert.ok(weights.size >= 4 && weights.size % 2 === 0);
    for (const [name, gradient] of inChunks) {
      assertNear(gradient, atOnce.get(name)!, 1e-10, name);
      if (!name.endsWith('.lora_A.weight')) continue;
      const layer = name.slice(0, -'.lora_A.weight'.length);
      const [a, b] = [weights.get(name)!, weights.get(`${layer}.lora_B.weight`)!];
      const [rank, columns] = a.shape as [number, number];
      const own =
        Object.entries(lora.rankPattern ?? {}).find(([pattern]) => layer.endsWith(pattern))?.[1] ??
        lora.rank!;
      assert.equal(rank, own);
      const scale = (lora.alpha ?? lora.rank!) / (lora.rankStabilized === true ? Math.sqrt(rank) : rank);
      const dw = Tensor.from(Float64Array.from(whole.get(`${layer}.weight`)!), {
        shape: [b.shape[0]!, columns],
      });
      const da = b.detach().to({ device: 'cpu' }).transpose(0, 1).matmul(dw).mul(scale);
      const db = dw.matmul(a.detach().to({ device: 'cpu' }).transpose(0, 1)).mul(scale);
      assertNear(gradient, await values(da), 1e-5, name); // the merged matrices are float32
      assertNear(inChunks.get(`${layer}.lora_B.weight`)!, await values(db), 1e-5, layer);
    }
  });
}

function assertNear(
  actual: readonly number[],
  expected: readonly number[],
  tolerance: number,
  what: string,
): void {
  const norm = (list: readonly number[]) => Math.sqrt(list.reduce((sum, value) => sum + value * value, 0));
  const error = norm(actual.map((value, k) => value - expected[k]!)) / (norm(expected) || 1);
  assert.ok(error <= tolerance, `${what}: ${error}`);
}

test('under dropout both passes meet the same masks, and the gradient is that of the loss', async () => {
  const lora: LoraOptions = { rank: 3, dropout: 0.4, targetModules: ['query', 'value', 'output.dense'] };
  using encoder = await load(lora, { precision: 'float64', dropout: 0.1 });
  disturb(encoder);
  const loss = async (retain: 'last' | 'auto' = 'last') => {
    const gradcache = new GradCache({
      ...{
        encoders: [encoder, encoder],
        loss: infoNCE({ temperature: 0.1 }),
        chunk: { sequences: 4 },
        seed: 2,
        retain,
      },
    });
    return (await gradcache.step([tenTexts(1), tenTexts(2)])).loss;
  };
  await loss();
  const parameters = encoder.parameters();
  const again = await Promise.all(parameters.map(({ tensor }) => values(tensor.grad!)));
  for (const { tensor } of parameters) call('aten::zero_', tensor.grad!).dispose();
  await loss('auto'); // graphs are kept in place of a second pass
  for (const [k, { tensor }] of parameters.entries()) assert.deepEqual(await values(tensor.grad!), again[k]);
  for (const [k, { name, tensor }] of parameters.entries()) {
    if (k % 3 !== 0) continue;
    const before = await values(tensor);
    const moved = async (by: number) => {
      const list = Float64Array.from(before);
      list[1] = list[1]! + by;
      tensor.copyFrom(Tensor.from(list, { shape: tensor.shape }));
      return loss();
    };
    const slope = ((await moved(1e-5)) - (await moved(-1e-5))) / 2e-5;
    tensor.copyFrom(Tensor.from(Float64Array.from(before), { shape: tensor.shape }));
    assert.ok(
      Math.abs(slope - again[k]![1]!) < 1e-6 + 1e-5 * Math.abs(slope),
      `${name}: ${slope}, ${again[k]![1]}`,
    );
  }
});

test('what is not adapted stays as it is and costs no gradient; base weights are kept in the type that computes', async () => {
  using encoder = await load({ rank: 2 }, { precision: 'bfloat16' });
  const trained = encoder
    .parameters()
    .reduce((sum, { tensor }) => sum + tensor.shape.reduce((a, b) => a * b, 1), 0);
  assert.equal(trained, 3 * 2 * (2 * 24 + 2 * 24));
  const buffer = encoder.gradients()[0]!;
  assert.ok(buffer.shape[0]! < trained + 64 * encoder.parameters().length);
  const shown = new AdamW(encoder.parameters(), { lr: 0.01 });
  await gradients(encoder);
  await shown.step();
  const state = [...(await shown.state()).values()].reduce((sum, { bytes }) => sum + bytes.length, 0);
  assert.ok(state < 8 * trained + 4 * encoder.parameters().length + 1);
  const again = join(folder, 'merged-bf16');
  using merged = await encoder.merge();
  await merged.save(again);
  const [before, now] = await Promise.all(
    [base(), again].map((each) => readSafetensors(`${each}/model.safetensors`)),
  );
  for (const [name, { bytes }] of before!) {
    const same = Buffer.from(bytes).equals(Buffer.from(now!.get(name)!.bytes));
    assert.equal(same, !/attention\.self\.(query|value)\.weight$/.test(name), name);
  }
});

test('the scale of an adapter whose weights are kept in bfloat16 is not rounded to it', async () => {
  const encoded = async (alpha: number) => {
    using encoder = await load(
      { rank: 6, alpha, targetModules: ['query', 'key', 'value'] },
      { precision: 'bfloat16', weights: 'bfloat16', dropout: 0 },
    );
    disturb(encoder);
    using rows = await encoder.encode(['w1 w2 w3', 'w4 w5', 'w6 w7 w8 w9']);
    return await values(rows);
  };
  const nearest = 2.671875; // to 8 / 3
  assert.notDeepEqual(await encoded(16), await encoded(6 * nearest));
});

test('frozen weights are saved as they were read, whatever type computes', async () => {
  using encoder = await TextEncoder.load(base(), {
    device,
    precision: 'bfloat16',
    frozen: ['embeddings', 'layers.0-1'],
  });
  const saved = join(folder, 'frozen-bf16');
  await encoder.save(saved);
  const [before, now] = await Promise.all(
    [base(), saved].map((each) => readSafetensors(`${each}/model.safetensors`)),
  );
  for (const [name, { bytes }] of before!) assert.deepEqual(now!.get(name)!.bytes, bytes, name);
});

test('adapters resume bit for bit, and their folder is read from elsewhere', async () => {
  const settings = { precision: 'float32', dropout: 0.1 } as const;
  const lora: LoraOptions = {
    rank: 3,
    dropout: 0.2,
    bias: 'lora_only',
    modulesToSave: ['attention.output.LayerNorm'],
  };
  using encoder = await load(lora, settings);
  const optimizer = new AdamW(encoder.parameters(), { lr: 0.02 });
  await gradients(encoder);
  await optimizer.step();
  const checkpoint = join(folder, 'checkpoint');
  await encoder.save(checkpoint);
  const state = await optimizer.state();
  await gradients(encoder);
  await optimizer.step();

  const path = join(checkpoint, 'adapter_config.json');
  const config = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
  await writeFile(path, JSON.stringify({ ...config, base_model_name_or_path: '../bert' }));
  using resumed = await TextEncoder.load(checkpoint, { device, ...settings });
  const further = new AdamW(resumed.parameters(), { lr: 0.02 });
  further.loadState(state);
  await gradients(resumed);
  await further.step();
  assert.deepEqual(
    await Promise.all(resumed.parameters().map(async ({ name, tensor }) => [name, await values(tensor)])),
    await Promise.all(encoder.parameters().map(async ({ name, tensor }) => [name, await values(tensor)])),
  );

  await writeFile(path, JSON.stringify({ ...config, base_model_name_or_path: 'no/such/model' }));
  await assert.rejects(
    TextEncoder.load(checkpoint),
    fails('CHECKPOINT', /"no\/such\/model"; a folder.*baseModel/),
  );
  using named = await TextEncoder.load(checkpoint, { device, baseModel: base() });
  const again = join(folder, 'named-again');
  await named.save(again);
  const kept = JSON.parse(await readFile(join(again, 'adapter_config.json'), 'utf8')) as Record<
    string,
    unknown
  >;
  assert.equal(kept['base_model_name_or_path'], 'no/such/model');
});

test('an adapter takes the pooling of its own folder, and asks for one where its base model would do otherwise', async () => {
  using encoder = await load({ rank: 2 });
  const own = join(folder, 'own-pooling');
  await encoder.save(own);
  await rm(join(own, 'modules.json'));
  await assert.rejects(
    TextEncoder.load(own),
    fails('INPUT', /without modules\.json.*Name the pooling \("mean"/),
  );
  using asked = await TextEncoder.load(own, { pooling: 'cls' });
  assert.equal(asked.parameters().length, 12);
});

test('adapters are not saved over the model that they need', async () => {
  using encoder = await load({ rank: 2 });
  for (const place of [base(), join(base(), '..', 'bert')])
    await assert.rejects(encoder.save(place), fails('INPUT', /base model.*another folder/));
  using whole = await encoder.merge();
  const over = join(folder, 'over');
  await encoder.save(over);
  await whole.save(over);
  using again = await TextEncoder.load(over);
  assert.ok(again.parameters().length > encoder.parameters().length);
  await encoder.save(over);
  assert.ok(!(await readdir(over)).includes('model.safetensors'));
});

test('adapters that fit no layer, and settings that mean nothing, are refused', async () => {
  const wrong: [LoraOptions, RegExp][] = [
    [{ targetModules: ['qeury'] }, /"qeury".*query, key, value, dense/],
    [{ targetModules: ['query', 'nothing'] }, /"nothing"/],
    [{ targetModules: '[' }, /targetModules is "\["; a regular expression/],
    [{ targetModules: ['query'], layers: [3] }, /layers \[3\]/],
    [{ modulesToSave: ['head'] }, /modulesToSave.*"head"/],
    [{ rank: 0 }, /lora\.rank is 0/],
    [{ rankPattern: { query: 0 } }, /rankPattern\["query"\] is 0/],
    [{ dropout: 1 }, /lora\.dropout is 1/],
    [{ bias: 'some' as never }, /lora\.bias is "some"/],
    [{ dora: true } as never, /DoRA.*magnitudes/],
    [{ ranks: 3 } as never, /did you mean rank/],
  ];
  for (const [lora, message] of wrong) await assert.rejects(load(lora), fails('INPUT', message));
  using encoder = await load({ rank: 2 });
  const saved = join(folder, 'twice');
  await encoder.save(saved);
  await assert.rejects(TextEncoder.load(saved, { lora: {} }), fails('INPUT', /leave lora out/));
  await assert.rejects(TextEncoder.load(base(), { baseModel: base() }), fails('INPUT', /is no adapter/));
  await writeFile(
    join(saved, 'adapter_config.json'),
    JSON.stringify({ peft_type: 'LORA', base_model_name_or_path: saved }),
  );
  await assert.rejects(TextEncoder.load(saved), fails('CHECKPOINT', /is an adapter itself/));
});

const FROZEN: readonly [entry: string, RegExp][] = [
  ['embeddings', /^embeddings\./],
  ['layers.1-2', /^encoder\.layer\.[12]\./],
  ['encoder.layer.*.attention', /\.attention\./],
  ['*LayerNorm', /LayerNorm/],
  ['*.bias', /\.bias$/],
];

test('a weight of another shape is not exported in place of that of the base model', async () => {
  const saved = join(folder, 'reshaped');
  using encoder = await load({ rank: 2, modulesToSave: ['embeddings.LayerNorm'] });
  await encoder.save(saved);
  const file = join(saved, 'adapter_model.safetensors');
  const tensors = await readSafetensors(file);
  const name = 'base_model.model.embeddings.LayerNorm.weight';
  tensors.set(name, { ...tensors.get(name)!, shape: [2, 12] });
  await writeSafetensors(file, [...tensors]);
  await assert.rejects(
    exportOnnx(saved, join(folder, 'exported')),
    fails(
      'CHECKPOINT',
      /for embeddings\.LayerNorm\.weight the shape \[2, 12\], where its base model has \[24\]/,
    ),
  );
});

test('weights are frozen by patterns and by the numbers of layers', async () => {
  for (const [entry, pattern] of FROZEN) {
    using some = await TextEncoder.load(base(), { device, frozen: [entry] });
    using all = await TextEncoder.load(base(), { device });
    const names = (encoder: TextEncoder) => encoder.parameters().map(({ name }) => name);
    assert.deepEqual(
      names(some),
      names(all).filter((name) => !pattern.test(name)),
      entry,
    );
  }
  await assert.rejects(
    TextEncoder.load(base(), { frozen: ['embeddings', 'layers.3-5'] }),
    fails('INPUT', /frozen\[1\] is "layers\.3-5"/),
  );
});

test('adapters of a folder on this machine are not pushed to the hub, where nobody has it', async () => {
  using encoder = await load({ rank: 2 });
  await assert.rejects(encoder.push('org/adapter'), fails('INPUT', /no model of the hub.*merge\(\)/));
});

test('adapters of a model of the hub name it as the hub does, and find it there', async (t) => {
  const hub = await HubServer.start(t);
  hub.commit('models/org/base', await filesOf(base()));
  hub.use(t, hub.environment(await mkdtemp(join(folder, 'hub-'))));
  using encoder = await TextEncoder.load('hf:org/base', { device, lora: { rank: 2 } });
  disturb(encoder);
  const saved = join(folder, 'of-the-hub');
  await encoder.save(saved);
  const stated = JSON.parse(await readFile(join(saved, 'adapter_config.json'), 'utf8')) as Record<
    string,
    unknown
  >;
  assert.deepEqual([stated['base_model_name_or_path'], stated['revision']], ['org/base', null]);
  hub.commit('models/org/adapter', await filesOf(saved));
  hub.use(t, hub.environment(await mkdtemp(join(folder, 'hub-')))); // an empty cache
  using again = await TextEncoder.load('hf:org/adapter', { device });
  const [here, there] = [await encoder.encode(['w1 w2']), await again.encode(['w1 w2'])];
  assert.deepEqual(await values(there), await values(here));
});

test('models that do not pool, and sparse ones, are adapted too', async () => {
  const tokenizer = await smallTokenizer(97);
  const config = { vocab_size: 97, max_position_embeddings: 40, ...CONFIGS.bert };
  const kinds: Readonly<Record<string, [CreateOptions, RegExp]>> = {
    splade: [
      { pooling: 'splade' },
      /^base_model\.model\.bert\.encoder\.layer\.[0-2]\.attention\.self\.(query|value)\.lora_[AB]/,
    ],
    none: [
      { pooling: 'none', projection: 8 },
      /^base_model\.model\.encoder\.layer\.[0-2]\.attention\.self\.(query|value)\.lora_[AB]/,
    ],
  };
  for (const [kind, [how, names]] of Object.entries(kinds)) {
    using plain = TextEncoder.create(config, tokenizer, { seed: 4, ...how });
    await plain.save(base(kind));
    using encoder = await load({ rank: 2 }, {}, kind);
    disturb(encoder);
    const saved = join(folder, `${kind}-adapted`);
    await encoder.save(saved);
    for (const name of (await readSafetensors(join(saved, 'adapter_model.safetensors'))).keys())
      assert.match(name, names);
    using again = await TextEncoder.load(saved, { device });
    using merged = await encoder.merge();
    const trained = again.parameters().map(({ name }) => name);
    assert.equal(trained.includes('dense.0.weight'), kind === 'none', 'a projection is trained as well');
    const encode = async (each: TextEncoder) =>
      values(
        kind === 'none' ? (await each.encodeTokens(['w1 w2'])).representations : await each.encode(['w1 w2']),
      );
    assert.deepEqual(await encode(again), await encode(encoder));
    const whole = await encode(merged);
    assertNear(whole, await encode(encoder), 1e-5, kind);
  }
});
