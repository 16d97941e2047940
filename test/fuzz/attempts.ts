/**
 * Tries inputs of one target: a program of its own, because a process that does not survive is among what is looked for.
 * Each input is announced before it is tried, and its outcome is told after. test/fuzz/fuzz.ts runs this program.
 *
 *   node attempts.js TARGET SEED FIRST END
 */
import { argv } from 'node:process';
import { setImmediate } from 'node:timers/promises';
import { inspect, types } from 'node:util';
import { ERROR_CODES, GradCacheError } from '../../lib/errors.js';
import { print } from './print.js';
import { Random } from './random-arguments.js';
import { targets } from './targets.js';

const [name, ...numbers] = argv.slice(2) as [string, ...string[]];
const [seed, first, end] = numbers.map(Number) as [number, number, number];

const report = (kind: string, text: unknown): void => print(`${kind} ${JSON.stringify(text)}\n`);

function outcomeOf(error: unknown): void {
  if (error instanceof GradCacheError && ERROR_CODES.includes(error.code))
    report('refused', `${error.code}: ${error.message}`);
  else report('untyped', inspect(error));
}

const target = await targets[name]!();
const attempt = await target.prepare();
for (let k = first; k < end; k++) {
  report('try', k);
  try {
    const result = attempt(new Random(seed * 1_000_003 + k), (what) => report('calls', what));
    // What is no Promise may do anything when it is awaited.
    if (types.isPromise(result)) await result;
    report('answered', null);
  } catch (error) {
    outcomeOf(error);
  }
  // A rejection that no one hears ends the process here, while its input is still the last one announced.
  await setImmediate();
}
report('end', null);
