import type { Target } from './target.js';

/** Everything that is fuzzed, by name; each is loaded where it is used. */
export const targets: Readonly<Record<string, () => Promise<Target>>> = {
  operators: async () => (await import('./targets/operators.js')).operatorCalls,
  tensors: async () => (await import('./targets/tensors.js')).tensors,
  exports: async () => (await import('./targets/exports.js')).exported,
  tokenizers: async () => (await import('./targets/tokenizers.js')).tokenizers,
};
