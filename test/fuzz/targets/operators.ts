import { call, schema, tidy } from '../../../lib/index.js';
import { operators } from '../operators.js';
import { argumentsOf, randomArgument } from '../random-arguments.js';
import type { Target } from '../target.js';

/** Operators with arguments of the types that their schemas name, and now and then of others. */
export const operatorCalls: Target = {
  count: 6000,
  least: { answered: 600, refused: 600 },
  prepare: () => (random, tell) => {
    const name = random.pick(operators);
    tell(name);
    tidy(() => {
      const list = argumentsOf(schema(name));
      const positional = list
        .filter(({ keyword }) => !keyword)
        .map(({ type }) => randomArgument(type, random));
      const keywords = list
        .filter(({ keyword }) => keyword)
        .map(({ type, name: key }) => [key, randomArgument(type, random)]);
      // Now and then too few arguments or too many.
      if (random.next() < 0.03) positional.pop();
      if (random.next() < 0.03) positional.push(randomArgument('Tensor', random));
      call(name, ...positional, Object.fromEntries(keywords) as object);
    });
  },
};
