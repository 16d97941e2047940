/**
 * Calls exported functions and methods with arguments of every wrong kind: a program of its own, because what is looked
 * for is a process that does not survive. Errors may be JavaScript's own, which are right for a call like these.
 *
 *   node garbage.js SEED COUNT
 */
import { argv } from 'node:process';
import * as gradcache from '../../lib/index.js';
import { smallTokenizer } from '../exactness/small-tokenizer.js';
import { garbage, Random } from './random-arguments.js';
import { print } from './print.js';

const { Tensor } = gradcache;

/** Not called: they would change or end what the program itself runs on, or read and write files of that name. */
const LEFT_OUT = new Set(['GradCacheError', 'useLibtorch', 'threads', 'train', 'writeSafetensors']);

type Callable = (...args: unknown[]) => unknown;

async function targets(): Promise<[string, Callable][]> {
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
    for (
      let prototype = Object.getPrototypeOf(make()) as object;
      prototype !== Object.prototype;
      prototype = Object.getPrototypeOf(prototype) as object
    ) {
      for (const [method, { value }] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
        if (method === 'constructor' || method === 'save' || typeof value !== 'function') continue;
        list.push([`${name}.${method}`, (...args) => (value as Callable).apply(make(), args)]);
      }
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

/** Draws from whatever came back, so that lazy iterables do their work. */
async function settle(result: unknown): Promise<void> {
  const value = await (result as Promise<unknown>);
  if (typeof value === 'object' && value !== null && Symbol.asyncIterator in value) {
    let drawn = 0;
    for await (const _ of value as AsyncIterable<unknown>) if (++drawn === 3) break;
  }
}

async function main(): Promise<void> {
  const [seed, count] = argv.slice(2).map(Number) as [number, number];
  const random = new Random(seed);
  const list = await targets();
  for (let k = 0; k < count; k++) {
    const [name, target] = random.pick(list);
    const args = Array.from({ length: random.below(4) }, () => garbage(random));
    print(`${k} ${name}\n`);
    try {
      await settle(target(...args));
    } catch (error) {
      if (!(error instanceof Error)) throw new Error(`${name} threw what is no Error`, { cause: error });
    }
  }
}

await main();
