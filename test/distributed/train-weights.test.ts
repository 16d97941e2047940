/** Runs that divide what they keep of weights in bfloat16, and of rows of a table. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TrainConfig } from '../../lib/training/config.js';
import { digests, record, shortRun } from '../training/support.js';
import { trainEach } from './train-each.js';

const KEPT = [
  { masterWeights: 'host' },
  { masterWeights: 'none' },
  { masterWeights: 'none', embeddingGradients: 'rows' },
  { embeddingGradients: 'rows' },
] as const;

test('runs that divide float32 weights and moments end as undivided ones, and go on with any number of ranks', async (t) => {
  const { folder, config } = await shortRun(t);
  const runs = KEPT.map((kept, index) => {
    const named = (name: string, more: Partial<TrainConfig> = {}): TrainConfig => ({
      ...{ ...config, ...kept, precision: 'bfloat16', steps: 4, checkpoint: { every: 2, keep: 9 } },
      ...{ divideOptimizer: true, output: join(folder, `${name}-${index}`), ...more },
    });
    const resume = join(folder, `divided-${index}`, 'checkpoint-2');
    return {
      divided: named('divided'),
      undivided: named('undivided', { divideOptimizer: false }),
      same: named('same', { resume }),
      // From an undivided checkpoint.
      other: named('other', { resume: join(folder, `undivided-${index}`, 'checkpoint-2') }),
      three: named('three', { resume }),
      one: named('one', { resume }),
    };
  });
  const twice = (configs: TrainConfig[]): TrainConfig[][] => configs.map((each) => [each, each]);
  const told = await trainEach(
    folder,
    twice(runs.flatMap(({ divided, undivided, same, other }) => [divided, undivided, same, other])),
  );
  const onThree = await trainEach(
    folder,
    runs.map(({ three }) => [three, three, three]),
  );
  for (const { code, message } of [...told.flat(), ...onThree.flat()]) assert.equal(code, undefined, message);
  for (const { divided, undivided, same, other, one } of runs) {
    const expected = await digests(join(divided.output, 'model'));
    // The adding up of gradients rounds alike over two ranks.
    for (const { output } of [undivided, same, other])
      assert.deepEqual(await digests(join(output, 'model')), expected, output);
    assert.equal((await record(one)).steps.length, 2);
  }
  for (const [index, { events }] of onThree[0]!.entries())
    assert.equal(events.filter(({ type }) => type === 'step').length, 2, String(index));
});
