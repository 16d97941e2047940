import type { TextEncoder } from '../../lib/index.js';

/** An encoder whose first calls of one of its passes fail. */
export function failingPasses(
  encoder: TextEncoder,
  method: 'forward' | 'backward',
  error: () => Error,
  times = 1,
): TextEncoder {
  const own = encoder.rowPasses!;
  let left = times;
  const passes = {
    ...own,
    [method]: async (...args: never[]) => {
      if (left-- > 0) throw error();
      return (own[method] as (...args: never[]) => Promise<unknown>)(...args);
    },
  };
  return new Proxy(encoder, {
    get: (target, name) => {
      if (name === 'rowPasses') return passes;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}
