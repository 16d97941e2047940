import type { TextEncoder } from '../../lib/index.js';

type Passes = NonNullable<TextEncoder['rowPasses']>;

/** An encoder whose first calls of one of its passes fail. */
export function failingPasses(
  encoder: TextEncoder,
  method: 'forward' | 'backward',
  error: () => Error,
  times = 1,
): TextEncoder {
  const own = encoder.rowPasses!;
  let left = times;
  return withPasses(encoder, {
    ...own,
    [method]: async (...args: never[]) => {
      if (left-- > 0) throw error();
      return (own[method] as (...args: never[]) => Promise<unknown>)(...args);
    },
  });
}

/** An encoder that does not know at first how far a backward has come. It is asked: backwards take their time. */
export function failingProgress(encoder: TextEncoder, error: () => Error): TextEncoder {
  const own = encoder.rowPasses!;
  const { reset, finalFrom } = own.progress!;
  let left = 1;
  return withPasses(encoder, {
    ...own,
    backward: async (...args) => {
      await new Promise((resolve) => setTimeout(resolve, 50));
      return own.backward(...args);
    },
    progress: {
      reset,
      finalFrom: () => {
        if (left-- > 0) throw error();
        return finalFrom();
      },
    },
  });
}

function withPasses(encoder: TextEncoder, passes: Passes): TextEncoder {
  return new Proxy(encoder, {
    get: (target, name) => {
      if (name === 'rowPasses') return passes;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}
