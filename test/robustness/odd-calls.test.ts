/** Methods called with values of every kind in the place of each argument: what is thrown is always typed. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chdir } from 'node:process';
import { after, test } from 'node:test';
import {
  AdamW,
  CrossEncoder,
  GradCache,
  GradCacheError,
  infoNCE,
  ModuleEncoder,
  RepresentationCache,
  Tensor,
  TextEncoder,
  type ReplayTicket,
} from '../../lib/index.js';
import { smallTokenizer } from '../exactness/small-tokenizer.js';
import { tenTexts, textEncoder, whole } from '../exactness/support.js';
import { membersOf } from './members.js';

// save('no') writes a folder of that name.
const folder = mkdtempSync(join(tmpdir(), 'gradcache-odd-'));
chdir(folder);
after(() => {
  rmSync(folder, { recursive: true });
});

const ODD: readonly unknown[] = [
  undefined,
  null,
  'no',
  -1,
  1.5,
  NaN,
  true,
  {},
  [],
  [null],
  [undefined, 1],
  [{}],
  () => 1,
  Symbol('1'),
  1n,
  new Map([['a', 1]]),
  new Int32Array(3),
  Object.create(null),
  { seed: 1, graph: undefined },
  { batch: null, rows: new Int32Array(1), tokens: 1 },
  Tensor.from([1, 2]),
];

const texts = await textEncoder('float32');
const config = {
  model_type: 'bert',
  vocab_size: 97,
  hidden_size: 12,
  num_hidden_layers: 1,
  num_attention_heads: 3,
  intermediate_size: 7,
};
const tokenizer = await smallTokenizer(97);
const perToken = TextEncoder.create(config, tokenizer, { pooling: 'none' });
const sparse = TextEncoder.create(config, tokenizer, { pooling: 'splade' });
const cross = CrossEncoder.create(config, tokenizer);
const { seed: _, ...ofTexts } = whole(texts, tenTexts(1))[0]!;
const weight = Tensor.from([1, 2, 3, 4], { shape: [2, 2] });
weight.requiresGrad = true;
const parameters = [{ name: 'weight', tensor: weight, decay: true }];
const rows = Tensor.from([1, 2, 3, 4], { shape: [2, 2] });
const module = new ModuleEncoder({ forward: (input) => input.matmul(weight), parameters: () => parameters });
const ofRows = { batch: rows, rows: Int32Array.of(0, 1), tokens: 2 };
const ticket: ReplayTicket = { seed: 1, graph: null };

/** An object made anew for each call, and good arguments of each of its methods. */
const TARGETS: Readonly<
  Record<string, readonly [make: () => object, methods: Record<string, readonly unknown[]>]>
> = {
  'a text encoder': [
    () => texts,
    {
      lengths: [tenTexts(1)],
      truncated: [tenTexts(1)],
      graphBytes: [ofTexts],
      pack: [tenTexts(1)],
      forwardChunk: [ofTexts, { seed: 1 }],
      backwardChunk: [ofTexts, ticket, Tensor.from(new Float32Array(240), { shape: [10, 24] }), 0],
      tokenize: [['w1'], {}],
      encode: [['w1'], {}],
      encodeQuery: [['w1'], {}],
      encodeDocument: [['w1'], {}],
      encodeTokens: [['w1'], {}],
      encodeSparse: [['w1'], {}],
      setPrompt: ['query', 'query: '],
      setSimilarity: ['cosine'],
      save: ['/nowhere/model', {}],
      push: ['no', {}], // a name that no request is made for
    },
  ],
  'a text encoder with a representation for each token': [
    () => perToken,
    { tokenize: [['w1'], { task: 'query' }], encodeTokens: [['w1'], { task: 'query' }] },
  ],
  'a sparse text encoder': [() => sparse, { encode: [['w1'], {}], encodeSparse: [['w1'], {}] }],
  'a cross-encoder': [
    () => cross,
    {
      lengths: [tenTexts(1)],
      truncated: [tenTexts(1)],
      graphBytes: [ofTexts],
      pack: [tenTexts(1)],
      forwardChunk: [ofTexts, { seed: 1 }],
      backwardChunk: [ofTexts, ticket, Tensor.from(new Float32Array(10), { shape: [10, 1] }), 0],
      tokenize: [[['w1', 'w2']], {}],
      tokenizeWindows: [[['w1', 'w2']], {}],
      predict: [[['w1', 'w2']], {}],
      rank: ['w1', ['w2'], {}],
      setPrompt: ['query', 'query: '],
      save: ['/nowhere/model', {}],
      push: ['no', {}], // a name that no request is made for
    },
  ],
  'a module encoder': [
    () => module,
    {
      lengths: [rows],
      truncated: [rows],
      graphBytes: [ofRows],
      forwardChunk: [ofRows, { seed: 1 }],
      backwardChunk: [ofRows, ticket, rows, 0],
    },
  ],
  'a cache of representations': [
    () => {
      const cache = new RepresentationCache([2]);
      cache.put(0, Int32Array.of(0, 1), rows);
      return cache;
    },
    {
      put: [0, Int32Array.of(0, 1), rows],
      target: [0, () => rows],
      fill: [0, Int32Array.of(1)],
      allGradients: [0],
      representations: [0],
      offsets: [0],
      compute: [(a: Tensor) => a.sum(), {}, 1, [true]],
      setGradients: [0, rows],
      valueOf: [(a: Tensor) => a.sum(), {}],
      gradients: [0, Int32Array.of(0)],
    },
  ],
  'a cache of rows with several representations': [
    () => {
      const cache = new RepresentationCache([2, 1]);
      cache.put(0, Int32Array.of(1, 0), rows, Int32Array.of(1, 1));
      cache.put(1, Int32Array.of(0), rows, Int32Array.of(2));
      return cache;
    },
    {
      put: [0, Int32Array.of(1), rows, Int32Array.of(2)],
      target: [1, () => rows],
      fill: [0, Int32Array.of(1)],
      fillNone: [0, 1],
      allGradients: [1],
      representations: [0],
      offsets: [1],
      compute: [(a: Tensor) => a.sum(), {}, 1, [true, true]],
      setGradients: [1, rows],
      valueOf: [(a: Tensor) => a.sum(), {}],
      gradients: [0, Int32Array.of(0)],
    },
  ],
  'an optimizer': [() => new AdamW(parameters, { lr: 1 }), { loadState: [new Map()] }],
  'a GradCache': [
    () => new GradCache({ encoders: [texts, texts], loss: infoNCE() }),
    { step: [[tenTexts(1), tenTexts(2)], {}], lossOf: [[tenTexts(1), tenTexts(2)], {}] },
  ],
  'a loss': [
    () => infoNCE(),
    {
      compute: [[rows, rows], 1, {}],
      computeAt: [[{ dimension: 2, weight: 1 }], [rows, rows], 1, {}],
      value: [[rows, rows], {}],
      checkOptions: [{}, [2, 2]],
      optionsBeside: [{}, [2, 2], 1],
      joinOptions: [
        [{}, {}],
        [
          [2, 2],
          [2, 2],
        ],
      ],
    },
  ],
};

for (const [title, [make, methods]] of Object.entries(TARGETS)) {
  test(`odd arguments give typed errors: ${title}`, async () => {
    const untyped: string[] = [];
    let calls = 0;
    for (const [method, good] of Object.entries(methods)) {
      const cases = good.flatMap((_, place) => ODD.map((odd) => good.with(place, odd)));
      // And every argument odd at once.
      cases.push(...ODD.map((odd) => good.map(() => odd)));
      for (const args of cases) {
        calls++;
        const target = make() as Record<string, (...args: unknown[]) => unknown>;
        try {
          await target[method]!(...args);
        } catch (error) {
          if (!(error instanceof GradCacheError))
            untyped.push(
              `${method}: ${error instanceof Error ? error.stack!.split('\n').slice(0, 3).join(' ') : String(error)}`,
            );
        }
      }
    }
    assert.deepEqual([...new Set(untyped)], []);
    assert.ok(calls > 20);
  });
}

test('every method is called with odd arguments, but those that take none', () => {
  for (const [title, [make]] of Object.entries(TARGETS)) {
    const prototype = Object.getPrototypeOf(make()) as object;
    const alike = Object.values(TARGETS).filter(([other]) => Object.getPrototypeOf(other()) === prototype);
    for (const [name, { value }] of Object.entries(membersOf(prototype))) {
      if (name === 'constructor' || typeof value !== 'function') continue;
      const takesNone = /^(async )?\S+\(\) \{/.test(Function.prototype.toString.call(value));
      assert.ok(takesNone || alike.some(([, methods]) => name in methods), `${title}: ${name}`);
    }
  }
});
