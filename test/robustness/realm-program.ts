/**
 * Two programs for realms.test.ts. `inside`: the package runs in a vm context, and what Node and native code give it is of
 * another realm. `outside`: the package runs as usual, and what its caller gives it is of another realm.
 */
import vm from 'node:vm';
import { Realm } from './realm-loader.js';

/** What a context gets from Node, as a test runner lends it; what the language itself has is the context's own. */
const own = new Set(vm.runInNewContext('Object.getOwnPropertyNames(globalThis)') as string[]);
const LENT = Object.getOwnPropertyNames(globalThis).filter((name) => name === 'console' || !own.has(name));

const INSIDE = `
import assert from 'node:assert';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as gradcache from '../../lib/index.js';
import { smallTokenizer } from '../exactness/small-tokenizer.js';

const { GradCache, GradCacheError, TextEncoder, Tensor, backward, call, infoNCE, noGrad, readPairs, tidy, train } = gradcache;
const fails = async (code, run) => {
  try {
    await run();
  } catch (error) {
    if (!(error instanceof GradCacheError)) throw new Error('not a GradCacheError', { cause: error });
    if (error.code !== code) throw new Error('code ' + error.code + ' in place of ' + code, { cause: error });
    return;
  }
  throw new Error('nothing was thrown in place of ' + code);
};
const folder = await mkdtemp(join(tmpdir(), 'gradcache-realm-'));
const absent = join(folder, 'absent');
try {
  // Errors of Node.
  await fails('CHECKPOINT', () => TextEncoder.load(absent));
  await fails('CHECKPOINT', () => gradcache.readSafetensors(absent));
  await fails('CHECKPOINT', () => gradcache.Tokenizer.fromFile(absent));
  await fails('INPUT', async () => { for await (const _ of readPairs(absent + '.jsonl')); });
  await fails('INPUT', async () => { for await (const _ of readPairs(absent + '.parquet')); });

  // Errors of native code, thrown and rejected.
  const matrix = Tensor.from([1, 2], { shape: [2, 1] });
  await fails('OPERATOR', () => call('aten::mm', matrix, matrix));
  await fails('OPERATOR', () => gradcache.callAsync('aten::mm', matrix, matrix));
  await fails('INPUT', () => backward([matrix], [null]));
  await fails('OPERATOR', () => noGrad(() => call('aten::none_of_this', matrix)));

  // Typed arrays, options and signals of the other realm.
  for (const array of [new Float32Array([1]), new Float64Array([1]), new Int32Array([1]), new BigInt64Array([1n]),
    new Int16Array([1]), new Int8Array([1]), new Uint8Array([1])]) {
    const foreign = structuredClone(array);
    assert.ok(!(foreign instanceof array.constructor), 'the array is of another realm');
    assert.strictEqual(Tensor.from(foreign).dtype, Tensor.from(array).dtype);
  }
  const values = await matrix.values();
  assert.deepEqual(Array.from(values), [1, 2]);
  const clone = structuredClone({ shape: [1, 2], bytes: new Uint8Array(8) });
  assert.deepEqual(Array.from(Tensor.fromBytes(clone.bytes, { shape: clone.shape, dtype: 'float32' }).shape), [1, 2]);

  // A step, and a folder written and read.
  const config = { model_type: 'bert', vocab_size: 8, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2,
    intermediate_size: 16, max_position_embeddings: 16, type_vocab_size: 1 };
  const model = TextEncoder.create(config, await smallTokenizer(8));
  const step = new GradCache({ encoders: [model, model], loss: infoNCE(), chunk: { tokens: 4 } });
  const texts = await model.tokenize(['w1 w2', 'w3']);
  const batch = structuredClone({ ...texts });
  const signal = AbortSignal.timeout(60_000);
  const { loss } = await step.step([batch, texts], { signal, loss: { targets: structuredClone(Int32Array.of(0, 1)) } });
  assert.ok(Number.isFinite(loss));
  await model.save(join(folder, 'model'));
  await model.save(join(folder, 'model'));
  assert.deepEqual(await readdir(folder), ['model']);
  await TextEncoder.load(join(folder, 'model'));
  await fails('INPUT', () => model.save(join(folder, 'model', 'config.json')));
  await fails('ABORTED', () => step.step([batch, texts], { signal: AbortSignal.abort() }));

  // The whole of a training.
  await writeFile(join(folder, 'pairs.jsonl'), '{"anchor":"w1","positive":"w2"}\\n{"anchor":"w3","positive":"w4"}\\n');
  const run = { model: join(folder, 'model'), data: join(folder, 'pairs.jsonl'), output: join(folder, 'run'), batch: 2,
    epochs: 1, device: 'cpu' };
  assert.strictEqual((await train(run)).steps, 1);
  await fails('INPUT', () => train({ ...run, output: join(folder, 'pairs.jsonl', 'run') }));
} finally {
  await rm(folder, { recursive: true });
}
console.log('inside: all as it should be');
`;

async function outside(): Promise<void> {
  const gradcache = await import('../../lib/index.js');
  const program = `async ({ Tensor, GradCacheError, call, infoNCE, tidy, withGrad, search }) => {
    const check = (good, what) => { if (!good) throw new Error(what); };
    const kept = tidy(() => ({ inner: { tensor: Tensor.from([1]) }, list: [Tensor.from([2])] }));
    check(!kept.inner.tensor.disposed && !kept.list[0].disposed, 'tidy keeps what a plain object holds');
    const [largest] = call('aten::topk', Tensor.from([1, 3, 2]), 1, { largest: false });
    check(largest.item() === 1, 'keywords of an operator');
    check(Tensor.from(new Float32Array([1, 2])).dtype === 'float32', 'a typed array');
    check(Tensor.from([1, 2], { shape: [2, 1] }).shape[1] === 1, 'options');
    try {
      withGrad(() => { throw new RangeError('mine'); });
    } catch (error) {
      check(error instanceof RangeError && error.message === 'mine', 'an own error passes as it is');
    }
    const a = Tensor.from([1, 0, 0, 1], { shape: [2, 2] });
    const targets = Int32Array.of(1, 0);
    await infoNCE().compute([a, a], 1, { targets });
  }`;
  await (vm.runInNewContext(program) as (exports: typeof gradcache) => Promise<void>)(gradcache);
  console.log('outside: all as it should be');
}

if (process.argv[2] === 'inside') await new Realm(LENT).run(INSIDE, import.meta.url);
else await outside();
