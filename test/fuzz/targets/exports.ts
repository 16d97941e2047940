import * as gradcache from '../../../lib/index.js';
import { smallTokenizer } from '../../exactness/small-tokenizer.js';
import { draw } from '../disturbed-calls.js';
import { garbage } from '../random-arguments.js';
import type { Target } from '../target.js';
import { membersOf } from '../../robustness/members.js';

const { Tensor } = gradcache;

/** Not called: an error is the caller's own, and a number of threads would stay for the inputs after it. */
const LEFT_OUT = new Set(['GradCacheError', 'threads']);

type Callable = (...args: unknown[]) => unknown;

async function callables(): Promise<[string, Callable][]> {
  const tokenizer = await smallTokenizer(50);
  const config = {
    model_type: 'bert',
    vocab_size: 50,
    hidden_size: 12,
    num_hidden_layers: 1,
    num_attention_heads: 3,
    intermediate_size: 7,
  };
  const encoder = gradcache.TextEncoder.create(config, tokenizer);
  const list: [string, Callable][] = [];
  const methods = (name: string, make: () => object) => {
    for (const [method, { value }] of Object.entries(membersOf(Object.getPrototypeOf(make()) as object))) {
      if (method === 'constructor' || typeof value !== 'function') continue;
      list.push([`${name}.${method}`, (...args) => (value as Callable).apply(make(), args)]);
    }
  };
  for (const [name, value] of Object.entries(gradcache)) {
    if (typeof value !== 'function' || LEFT_OUT.has(name)) continue;
    const isClass = /^class\s/.test(Function.prototype.toString.call(value));
    const construct = value as unknown as new (...args: unknown[]) => unknown;
    list.push([name, isClass ? (...args) => new construct(...args) : (value as Callable)]);
    for (const [method, member] of Object.entries(Object.getOwnPropertyDescriptors(value))) {
      if (isClass && typeof member.value === 'function')
        list.push([`${name}.${method}`, (member.value as Callable).bind(value)]);
    }
  }
  const steps = () => new gradcache.GradCache({ encoders: [encoder, encoder], loss: gradcache.infoNCE() });
  methods('tensor', () => Tensor.from([1, 2, 3, 4], { shape: [2, 2] }));
  methods('encoder', () => gradcache.TextEncoder.create(config, tokenizer));
  methods('gradcache', steps);
  methods('cache', () => new gradcache.RepresentationCache([2, 2]));
  methods('optimizer', () => new gradcache.AdamW(encoder.parameters(), { lr: 0.1 }));
  methods('tokenizer', () => tokenizer);
  methods('loss', () => gradcache.infoNCE());
  return list;
}

/** Exported functions and methods with arguments of every wrong kind. */
export const exported: Target = {
  count: 3000,
  least: { answered: 500, refused: 500 },
  prepare: async () => {
    const list = await callables();
    return async (random, tell) => {
      const [name, callable] = random.pick(list);
      tell(name);
      await draw(await callable(...Array.from({ length: random.below(4) }, () => garbage(random))));
    };
  },
};
