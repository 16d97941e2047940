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

/** What goes wrong if a part of the step is not done, and a case that shows it. */
const MUTANTS: Readonly<Record<string, string>> = {
  'gradients of earlier steps are counted on every rank': 'tied towers',
  'gradients of parameters are not added up': 'two towers, symmetric',
  'gradients of representations are not added up': 'tied towers',
  'the loss that all compute whole is counted by all': 'a loss of your own, with a parameter',
};

/**
 * What a third rank adds is where rows are cut and what is sent, which rounding would hide. Two ranks run the mutants too: a start
 * takes longer than they do.
 */
const RUNS = {
  2: { precision: 'float32', mutants: Object.entries(MUTANTS).map((mutant) => mutant.join(': ')) },
  3: { precision: 'float64', mutants: [] },
} as const;

const started = new Map<number, Promise<OfCases[]>>();

function run(size: 2 | 3): Promise<OfCases[]> {
  const { precision, mutants } = RUNS[size];
  const found = started.get(size) ?? runRanks<OfCases>(size, 'gradients-program.js', [precision, ...mutants]);
  started.set(size, found);
  return found;
}

for (const size of [2, 3] as const)
  test(`gradients over ${size} ranks are those of one process`, async () => {
    const all = await run(size);
    const [, tolerance] = precisions.find(([precision]) => precision === RUNS[size].precision)!;
    const cases = Object.entries(all[0]!).filter(([name]) => !(name in MUTANTS));
    for (const [name, { gradient, loss, norm, digest }] of cases) {
      assert.ok(norm > 1e-3, `${name}: the gradient is ${norm}`);
      // Scores of some hundreds, whose products are of other shapes in a ring, and rounded in another way.
      const times = name === 'float32, large scores, in a ring' ? 5 : 1;
      assert.ok(gradient <= tolerance * times && loss <= tolerance, `${name}: ${gradient}, loss ${loss}`);
      for (const [rank, each] of all.entries())
        assert.equal(each[name]!.digest, digest, `${name}: weights of rank ${rank} after the update`);
    }
    assert.ok(cases.length > 60);
    assert.ok(cases.filter(([name]) => name.endsWith('in a ring')).length > 15);
  });

test('a step that leaves out a part has other gradients', async () => {
  const [found] = await run(2);
  for (const mutant of Object.keys(MUTANTS))
    assert.ok(found![mutant]!.gradient > 0.1, `${mutant}: ${found![mutant]!.gradient}`);
});
