import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertClose } from '../oracle/compare.js';
import {
  type Case,
  centralDifferences,
  evenCases,
  leaves,
  none,
  oddCases,
  outputAndGradients,
  some,
  valuesFor,
} from './support.js';

/** That a mask follows from the seed alone, where no other kernel draws the same. */
async function sameBySeed(operator: Case, values: Readonly<Record<string, Float64Array>>): Promise<void> {
  const [first, again, other] = await Promise.all(
    [some, some, { ...some, seed: some.seed + 1 }].map((dropout) =>
      outputAndGradients(leaves(operator, values, 'bfloat16'), (inputs) => operator.run(inputs, dropout)),
    ),
  );
  for (const [name, values] of first!) assertClose(again!.get(name)!, values, 1e-2, name);
  assert.deepEqual(again!.get('output'), first!.get('output'));
  assert.notDeepEqual(other!.get('output'), first!.get('output'));
}

for (const operator of oddCases) {
  for (const dropout of operator.drops ? [none, some] : [none]) {
    test(`${operator.name}, p = ${dropout.p}: gradients are those of central differences`, async () => {
      const values = valuesFor(operator);
      const found = await outputAndGradients(leaves(operator, values, 'float64'), (inputs) =>
        operator.run(inputs, dropout),
      );
      for (const name of Object.keys(operator.shapes)) {
        const expected = centralDifferences(operator, values, name, dropout);
        assertClose(found.get(name)!, expected, 1e-6, `gradient of ${name}`);
      }
    });
  }
}

for (const operator of [...oddCases, ...evenCases]) {
  for (const dropout of operator.drops ? [none, some] : [none]) {
    test(`${operator.name}, p = ${dropout.p}: output and gradients are those of ATen's operators`, async () => {
      const values = valuesFor(operator);
      const ours = await outputAndGradients(leaves(operator, values, 'float64'), (inputs) =>
        operator.run(inputs, dropout),
      );
      const theirs = await outputAndGradients(leaves(operator, values, 'float64'), (inputs) =>
        operator.compose(inputs, dropout),
      );
      for (const [name, expected] of theirs) assertClose(ours.get(name)!, expected, 1e-12, name);
    });

    // Other types take other code: on the CPU, bfloat16 and float16 are composed of ATen's operators; on CUDA, float64 is.
    for (const [dtype, tolerance] of [
      ['float32', 1e-5],
      ['bfloat16', 2e-2],
      ['float16', 4e-3],
    ] as const) {
      test(`${operator.name}, p = ${dropout.p}: ${dtype} agrees with float64`, async () => {
        const values = valuesFor(operator);
        if (operator.ownMask && dtype === 'bfloat16' && dropout.p > 0) return sameBySeed(operator, values);
        const exact = await outputAndGradients(leaves(operator, values, 'float64', dtype), (inputs) =>
          operator.run(inputs, dropout),
        );
        const rounded = await outputAndGradients(leaves(operator, values, dtype), (inputs) =>
          operator.run(inputs, dropout),
        );
        for (const [name, expected] of exact) assertClose(rounded.get(name)!, expected, tolerance, name);
      });
    }
  }
}
