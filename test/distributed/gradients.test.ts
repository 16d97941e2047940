/** The gradients of a step over ranks are those of the whole batch in one process, for every kind of loss and encoder. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { precisions } from '../exactness/support.js';
import { runRanks } from './start-ranks.js';

/** How far a case is from the same in one process: the worst gradient and loss, relative, and the weights after an update. Of other ranks than 0 only these. */
interface Found {
  readonly gradient: number;
  readonly loss: number;
  readonly digest: string;
  readonly norm: number;
}

type OfCases = Readonly<Record<string, Found>>;

const run = (size: number, args: readonly string[]): Promise<OfCases[]> =>
  runRanks<OfCases>(size, 'gradients-program.js', args);

for (const size of [2, 3])
  test(`gradients over ${size} ranks are those of one process`, async () => {
    // What a third rank adds is where rows are cut and what is sent, which rounding hides.
    const compared = size === 2 ? precisions : precisions.slice(0, 1);
    const all = await run(size, [compared.map(([name]) => name).join()]);
    for (const [name, { gradient, loss, norm, digest }] of Object.entries(all[0]!)) {
      const [, tolerance] = precisions.find(([precision]) => name.startsWith(precision))!;
      assert.ok(norm > 1e-3, `${name}: the gradient is ${norm}`);
      // Scores of some hundreds, whose products are of other shapes in a ring, and rounded in another way.
      const times = name === 'float32, large scores, in a ring' ? 5 : 1;
      assert.ok(gradient <= tolerance * times && loss <= tolerance, `${name}: ${gradient}, loss ${loss}`);
      for (const [rank, each] of all.entries())
        assert.equal(each[name]!.digest, digest, `${name}: weights of rank ${rank} after the update`);
    }
    assert.ok(Object.keys(all[0]!).length > 40);
    assert.ok(Object.keys(all[0]!).filter((name) => name.endsWith('in a ring')).length > 20);
  });

/** What goes wrong if a part of the step is not done, and a case that shows it. */
const MUTANTS: Readonly<Record<string, string>> = {
  'gradients of earlier steps are counted on every rank': 'tied towers',
  'gradients of parameters are not added up': 'two towers, symmetric',
  'gradients of representations are not added up': 'tied towers',
  'the loss that all compute whole is counted by all': 'a loss of your own, with a parameter',
};

test('a step that leaves out a part has other gradients', async () => {
  const asked = Object.entries(MUTANTS).map(([mutant, name]) => `${mutant}: ${name}`);
  const [found] = await run(2, ['mutants', ...asked]);
  for (const mutant of Object.keys(MUTANTS))
    assert.ok(found![mutant]!.gradient > 0.1, `${mutant}: ${found![mutant]!.gradient}`);
});
