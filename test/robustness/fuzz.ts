/**
 * Runs operators with random arguments until it has done so `count` times: a program of its own, because what is looked
 * for is a process that does not survive. Each call is announced before it is made; the parent reads the last line.
 *
 *   node fuzz.js SEED COUNT
 */
import { argv } from 'node:process';
import { call, GradCacheError, schema, tidy } from '../../lib/index.js';
import { operators } from './operators.js';
import { argumentsOf, Random, randomArgument } from './random-arguments.js';
import { print } from './print.js';

const [seed, count] = argv.slice(2).map(Number) as [number, number];
const random = new Random(seed);
let returned = 0;
let refused = 0;
for (let k = 0; k < count; k++) {
  const name = random.pick(operators);
  print(`${k} ${name}\n`);
  try {
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
    returned++;
  } catch (error) {
    if (!(error instanceof GradCacheError)) throw error;
    refused++;
  }
}
print(`${JSON.stringify({ returned, refused })}\n`);
