import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  AcrossSegments,
  backward,
  call,
  exactGradients,
  ModuleSegmentModel,
  withSeed,
  type Across,
  type Segment,
  type SegmentModule,
  type State,
  type Tensor,
} from '../../lib/index.js';
import { drawSeed } from '../../lib/options/seeds.js';
import { gradientsOf, randomSegments, startedAnew, tensorsOf, TinyLanguageModel } from './support.js';

/** The gradient of the mean loss as one graph over all segments gives it. */
async function oneGraph(module: SegmentModule, segments: readonly Segment[], seed: number) {
  let state: State = module.initialState(segments[0]!.rows);
  const losses: Tensor[] = [];
  let targets = 0;
  for (const [index, segment] of segments.entries()) {
    const result = withSeed(drawSeed('segment', seed, index), () =>
      module.forward(tensorsOf(segment), state),
    );
    losses.push(result.loss);
    targets += segment.targets.filter((target) => target >= 0).length;
    const initial = module.initialState(segment.rows);
    state = result.state.map((slot, place) => startedAnew(slot, initial[place]!, segment.ends ?? []));
  }
  const loss = call('aten::stack', losses).sum().div(targets);
  await backward([loss], [null]);
  return { loss: loss.item(), gradients: gradientsOf(module) };
}

test('the exact gradient is that of one graph over all segments', async () => {
  const cases: Record<string, [segments: Segment[], dropout: number]> = {
    'equal lengths': [randomSegments([4, 4, 4]), 0],
    'an uneven last segment': [randomSegments([5, 5, 5, 2]), 0],
    'one segment': [randomSegments([6]), 0],
    'segments of one token': [randomSegments([1, 1, 1, 1, 1]), 0],
    dropout: [randomSegments([3, 4, 5]), 0.4],
    'documents that end': [randomSegments([3, 3, 3, 3], { ends: [[1], [], [0, 1, 2]] }), 0.2],
    'segments without targets': [randomSegments([3, 3, 3], { silent: [0, 1] }), 0],
  };
  const across: Across[] = [
    'exact',
    exactGradients({ retain: { segments: 0 } }),
    exactGradients({ retain: { segments: 2 } }),
    exactGradients({ retain: { segments: 99 } }),
  ];
  for (const [name, [segments, dropout]] of Object.entries(cases)) {
    const wanted = await oneGraph(new TinyLanguageModel({ dropout }), segments, 5);
    for (const given of across) {
      const module = new TinyLanguageModel({ dropout });
      const training = new AcrossSegments(new ModuleSegmentModel(module), { across: given });
      const { loss, retained } = await training.step(segments, { seed: 5 });
      assert.ok(Math.abs(loss - wanted.loss) < 1e-12, name);
      const most =
        given === 'exact' ? 1 : Number((given as { retain: { segments: number } }).retain.segments);
      assert.equal(retained, Math.min(most, segments.length), name);
      gradientsOf(module).forEach((value, index) => {
        assert.ok(Math.abs(value - wanted.gradients[index]!) < 1e-12, `${name}, gradient ${index}`);
      });
    }
  }
});
