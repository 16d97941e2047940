import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { GradCache, infoNCE, TextEncoder } from '../../lib/index.js';
import { ACTIVATIONS, activationClass } from '../../lib/model-folder/activations.js';
import { assertSameGradients, largestDifference, type Numbers } from './compare.js';
import { Oracle, readGradients, type ModuleDescription, type ModulesSettings } from './oracle.js';

const device = process.env.GRADCACHE_TEST_DEVICE ?? 'cpu';
const PRECISIONS = [
  ['float32', 2e-5],
  ['float64', 1e-9],
] as const;
const PROMPT = 'search query';
let oracle: Oracle;
let columns: string[][];

before(async () => {
  oracle = new Oracle();
  const texts = await oracle.sentences(9, 12, 1, 20);
  columns = [texts.slice(0, 6), texts.slice(6)];
});

after(() => oracle.close());

/** Vectors, loss and gradients are those of sentence-transformers, which opens what is saved as well. */
async function compare(base: string, settings: ModulesSettings, prompt?: string): Promise<void> {
  const folder = await oracle.saveWithModules(base, `${base}-${Math.random()}`, settings);
  const texts = columns.flat();
  const expected = await oracle.encode(folder, texts, prompt === undefined ? {} : { prompt_name: 'p' });
  const gradients = await oracle.gradients(folder, columns, {
    dtype: 'float64',
    ...(prompt !== undefined && { prompt }),
  });
  const expectedByName = await readGradients(gradients);
  const options = prompt === undefined ? {} : { prompt: 'p' };
  for (const [precision, tolerance] of PRECISIONS) {
    using encoder = await TextEncoder.load(folder, { device, precision, dropout: 0 });
    const ours = (await (await encoder.encode(texts, options)).values()) as Numbers;
    const largest = Math.max(...expected.flat().map(Math.abs));
    const difference = largestDifference(ours, expected.flat());
    assert.ok(difference <= tolerance * largest, `${precision}: ${difference} of ${largest}`);
    const gradcache = new GradCache({
      encoders: [encoder, encoder],
      loss: infoNCE({ temperature: 0.05 }),
      chunk: { sequences: 4 },
    });
    const result = await gradcache.step(columns.map((column) => encoder.tokenize(column, options)));
    assert.ok(Math.abs(result.loss - gradients.loss) <= tolerance * Math.abs(gradients.loss), precision);
    const found = new Map<string, Numbers>();
    for (const { name, tensor } of encoder.parameters())
      if (!gradients.unused.includes(name)) found.set(name, (await tensor.grad!.values()) as Numbers);
    assertSameGradients(found, expectedByName, tolerance, precision);
    if (precision === 'float64') continue;
    const copy = oracle.path(`copy-${Math.random()}`);
    await encoder.save(copy);
    const theirs = await oracle.encode(copy, texts, prompt === undefined ? {} : { prompt_name: 'p' });
    assert.ok(largestDifference(theirs.flat(), expected.flat()) <= 1e-6 * largest, 'saved');
  }
}

const SIX = ['weightedmean', 'max', 'mean', 'mean_sqrt_len_tokens', 'cls', 'lasttoken'];

test('poolings alone and side by side', async () => {
  await compare('distilbert', { pooling: 'weightedmean' });
  await compare('distilbert', { pooling: 'mean_sqrt_len_tokens', modules: [['normalize']] });
  await compare('bert', { pooling: SIX });
});

test('the tokens of a prompt are left out of the pooling', async () => {
  const prompts = { p: PROMPT };
  await compare('bert', { pooling: SIX, include_prompt: false, prompts }, PROMPT);
  await compare(
    'roberta',
    { pooling: 'mean', include_prompt: false, prompts, modules: [['normalize']] },
    PROMPT,
  );
});

for (const legacy of [false, true])
  test(`weights that torch.save wrote${legacy ? ' before PyTorch 1.6' : ''}`, async () => {
    const folder = await oracle.saveWithModules('distilbert', `pickled-${legacy}`, {
      modules: [['dense', 7, 'Tanh', true, false], ['norm']],
    });
    const texts = columns.flat();
    const expected = (await oracle.encode(folder, texts)).flat();
    await oracle.pickleWeights(folder, { legacy });
    using encoder = await TextEncoder.load(folder, { device, precision: 'float64' });
    const ours = (await (await encoder.encode(texts)).values()) as Numbers;
    assert.ok(largestDifference(ours, expected) <= 1e-10);
  });

test('a text of which a prompt leaves nothing is refused', async () => {
  const folder = await oracle.saveWithModules('bert', 'only-prompt', {
    include_prompt: false,
    prompts: { p: PROMPT },
  });
  using encoder = await TextEncoder.load(folder, { device, maxLength: 4 });
  const cut = await encoder.tokenize(['a text'], {
    prompt: { prefix: 'some words go in front ' },
    maxLength: 4,
  });
  assert.deepEqual([cut.skipped, cut.ids.length], [3, 4]); // its last token is pooled, as in sentence-transformers
  const short = { ...cut, skipped: 4 };
  await assert.rejects(encoder.pack(short), { code: 'INPUT', message: /the first 4 are the prompt's/ });
});

test('modules in any order', async () => {
  const orders: ModuleDescription[][] = [
    [['normalize'], ['dense', 9, 'Tanh', true, false]],
    [['norm'], ['dense', 9, 'SiLU', false, true], ['dropout', 0.3], ['norm'], ['normalize']],
    [
      ['dropout', 0.1],
      ['dense', 14, 'GELU', true, true],
      ['normalize'],
      ['normalize'],
      ['dense', 4, 'Identity', false, false],
    ],
  ];
  for (const modules of orders) await compare('static', { modules });
  await compare('bert', { modules: orders[1]! });
});

test('every activation of a dense layer', async () => {
  const modules = ACTIVATIONS.map((activation): ModuleDescription => [
    'dense',
    5,
    activationClass(activation).replace(/^.*\./, ''),
    true,
    false,
  ]);
  // Several in a row, with the input beside each, so that one that is 0 over a range ends no gradient.
  for (let begin = 0; begin < modules.length; begin += 7)
    await compare('static', {
      modules: modules
        .slice(begin, begin + 7)
        .map(([kind, width, name]) => [kind, width, name, true, true] as ModuleDescription),
    });
});

test('queries and documents: prompts by task, lengths by task', async () => {
  const texts = columns.flat();
  const prompts: Record<string, string>[] = [
    { query: 'query: ', document: 'the document ' },
    { query: 'search ', passage: 'passage: ', document: '' },
    { other: 'other ' },
  ];
  for (const [place, each] of prompts.entries()) {
    const folder = await oracle.saveWithModules('bert', `tasks-${place}`, {
      prompts: each,
      ...(place === 2 && { default_prompt: 'other' }),
      settings: place === 1 ? { query_length: 5, document_length: 40, max_seq_length: 12 } : {},
    });
    using encoder = await TextEncoder.load(folder, { device, precision: 'float64' });
    const copy = `${folder}-copy`;
    await encoder.save(copy);
    const values = async (rows: Promise<{ values(): Promise<unknown> }>) =>
      (await (await rows).values()) as Numbers;
    for (const from of [folder, copy])
      for (const [ours, task] of [
        [encoder.encodeQuery(texts), 'query'],
        [encoder.encodeDocument(texts), 'document'],
        [encoder.encode(texts), undefined],
      ] as const) {
        const expected = await oracle.encode(from, texts, task && { task });
        assert.ok(
          largestDifference(await values(ours), expected.flat()) <= (from === copy ? 1e-5 : 1e-10),
          task,
        );
      }
  }
});
