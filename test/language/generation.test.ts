import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AcrossSegments, AdamW, LanguageModel } from '../../lib/index.js';
import { movedModel } from './support.js';

test('generated tokens follow from the seed; with temperature 0 they are the most probable ones', async () => {
  using model = movedModel({ vocabulary: 7, layers: 2, width: 8, projected: 4, window: 4 }, 'float32');
  const prompt = Int32Array.of(1, 2, 3);
  const draw = (options: object) => model.generate(prompt, { tokens: 12, ...options });
  assert.deepEqual(await draw({ seed: 5 }), await draw({ seed: 5 }));
  assert.notDeepEqual(await draw({ seed: 5 }), await draw({ seed: 6 }));
  const greedy = await draw({ temperature: 0 });
  assert.deepEqual(await draw({ topK: 1, seed: 2 }), greedy);
  assert.deepEqual(await draw({ topP: 1e-9, seed: 2 }), greedy);
  // The most probable token after a text is the one with the greatest log-likelihood as its target.
  const text = Int32Array.of(...prompt, ...greedy);
  for (let place = prompt.length; place < text.length; place++) {
    const inputs = text.slice(0, place);
    const likelihoods = await Promise.all(
      Array.from({ length: 7 }, async (_, token) => {
        const targets = new Int32Array(place).fill(-1);
        targets[place - 1] = token;
        const { values } = await model.logLikelihoods({ rows: 1, inputs, targets }, model.initialState(1));
        return values[place - 1]!;
      }),
    );
    assert.equal(likelihoods.indexOf(Math.max(...likelihoods)), text[place]);
  }
  const seen: number[] = [];
  const until = greedy[3]!;
  const ended = await draw({ temperature: 0, until, onToken: (token: number) => seen.push(token) });
  assert.deepEqual([...ended], [...greedy.slice(0, greedy.indexOf(until) + 1)]);
  assert.deepEqual(seen, [...ended]);
  assert.equal((await model.generate(prompt, { tokens: 0 })).length, 0);
});

test('tokens are drawn as often as they are probable', async () => {
  using model = movedModel({ vocabulary: 4, layers: 1, width: 8, cell: 'gru' }, 'float32');
  const log = await Promise.all(
    [0, 1, 2, 3].map(async (token) => {
      const segment = { rows: 1, inputs: Int32Array.of(2), targets: Int32Array.of(token) };
      return (await model.logLikelihoods(segment, model.initialState(1))).values[0]!;
    }),
  );
  const share = async (options: object) => {
    const counts = [0, 0, 0, 0];
    for (let seed = 0; seed < 600; seed++)
      counts[(await model.generate(Int32Array.of(2), { tokens: 1, seed, ...options }))[0]!]!++;
    return counts.map((count) => count / 600);
  };
  const expect = (weights: readonly number[]) => {
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return weights.map((weight) => weight / sum);
  };
  const close = (drawn: readonly number[], expected: readonly number[]) => {
    for (const [token, value] of expected.entries())
      assert.ok(Math.abs(drawn[token]! - value) < 0.07, `${drawn.join()} and ${expected.join()}`);
  };
  const probable = log.map(Math.exp);
  close(await share({}), probable);
  close(await share({ temperature: 0.5 }), expect(probable.map((p) => p * p)));
  const ranks = probable.map((p) => probable.filter((other) => other > p).length);
  close(await share({ topK: 2 }), expect(probable.map((p, token) => (ranks[token]! < 2 ? p : 0))));
  const best = Math.max(...probable);
  close(await share({ topP: best + 1e-4 }), expect(probable.map((p, token) => (ranks[token]! < 2 ? p : 0))));
});

test('a model that is trained across segments says its text by heart', async () => {
  const text = 'the cat sat on the mat. a dog ran to the red barn; ';
  const bytes = (words: string) => Int32Array.from(Buffer.from(words));
  using model = LanguageModel.create({ vocabulary: 128, layers: 2, width: 32, projected: 16 }, { seed: 1 });
  const training = new AcrossSegments(model, { across: 'none' });
  const optimizer = new AdamW(training.parameters(), { lr: 0.01, weightDecay: 0, maxGradNorm: 1 });
  const stream = bytes(text.repeat(80));
  let last = Infinity;
  for (let begin = 0; begin + 17 <= stream.length; begin += 16) {
    const inputs = stream.slice(begin, begin + 16);
    const targets = stream.slice(begin + 1, begin + 17);
    ({ loss: last } = await training.step([{ rows: 1, inputs, targets }]));
    await optimizer.step();
  }
  assert.ok(last < 0.1, String(last));
  const told = await model.generate(bytes(text + text.slice(0, 9)), { tokens: 40, temperature: 0 });
  assert.equal(Buffer.from(Uint8Array.from(told)).toString(), text.repeat(2).slice(9, 49));
});
