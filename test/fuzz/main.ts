/**
 * The fuzzers by hand: `npm run fuzz [-- TARGET … --count 10000 --seed N --only NUMBER]`. Without a target it runs all;
 * --only repeats one input and shows what it calls and what comes back.
 */
import { parseArgs } from 'node:util';
import { fuzz } from './fuzz.js';
import { targets } from './targets.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    count: { type: 'string', default: '10000' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string' },
  },
});
const unknown = positionals.find((name) => !Object.hasOwn(targets, name));
const names = positionals.length === 0 ? Object.keys(targets) : positionals;
if (unknown !== undefined || (values.only !== undefined && names.length !== 1)) {
  console.error(
    unknown === undefined
      ? '--only repeats an input of one target: name it.'
      : `${unknown} is not a target; there are ${Object.keys(targets).join(', ')}.`,
  );
  process.exit(2);
}
const seed = Number(values.seed);
const only = values.only === undefined ? undefined : Number(values.only);
let failed = 0;
for (const name of names) {
  const started = performance.now();
  const { answered, refused, failures } = await fuzz(
    name,
    only === undefined ? { seed, count: Number(values.count) } : { seed, first: only, count: 1 },
    only === undefined ? undefined : (line) => console.log(line),
  );
  failed += failures.length;
  for (const { number, what } of failures) console.log(`${name} --seed ${seed} --only ${number}: ${what}\n`);
  const seconds = ((performance.now() - started) / 1000).toFixed();
  console.log(`${name}: ${answered} answered, ${refused} refused, ${failures.length} failed, ${seconds} s`);
}
process.exitCode = failed > 0 ? 1 : 0;
