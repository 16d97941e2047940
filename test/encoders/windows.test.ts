import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inWindows } from '../../lib/encoders/windows.js';
import { TextEncoder, Tokenizer } from '../../lib/index.js';
import { fails } from '../robustness/failures.js';
import { smallTokenizer } from './small-model.js';

/** What happens, in order; `work` of a window ends when `end` is called with its beginning. */
function recorder(count: number, size: number) {
  const events: string[] = [];
  const ends = new Map<number, (error?: Error) => void>();
  const done = inWindows(count, size, {
    read: (begin, end) => {
      events.push(`read ${begin}-${end}`);
      return Promise.resolve(end - begin);
    },
    work: (rows, begin) => {
      events.push(`work ${begin}+${rows}`);
      return new Promise((resolve, reject) => {
        ends.set(begin, (error) => {
          if (error) reject(error);
          else resolve();
        });
      });
    },
  });
  const settled = () => new Promise((resolve) => setImmediate(resolve));
  return { events, done, end: (begin: number, error?: Error) => ends.get(begin)!(error), settled };
}

test('windows are read while those before are worked on, no more than needed', async () => {
  const { events, done, end, settled } = recorder(7, 2);
  await settled();
  assert.deepEqual(events, ['read 0-2', 'work 0+2', 'read 2-4', 'work 2+2', 'read 4-6']);
  end(0);
  await settled();
  assert.deepEqual(events.slice(5), ['work 4+2', 'read 6-7']);
  end(2);
  await settled();
  end(4);
  end(6);
  await done;
  assert.deepEqual(events.at(-1), 'work 6+1');
});

test('after a failure nothing is under way', async () => {
  const { events, done, end, settled } = recorder(8, 2);
  await settled();
  let ended = false;
  const outcome = done.then(
    () => null,
    (error: Error) => {
      ended = true;
      return error.message;
    },
  );
  end(0, new Error('broken'));
  await settled();
  assert.equal(ended, false, 'the second window is still worked on');
  end(2);
  assert.equal(await outcome, 'broken');
  assert.ok(!events.includes('work 4+2'));
});

test('windows are even, and of no texts there is one', async () => {
  const sizes = async (count: number) => {
    const read: number[] = [];
    await inWindows(count, 4, {
      read: (begin, end) => Promise.resolve(read.push(end - begin)),
      work: () => Promise.resolve(),
    });
    return read;
  };
  assert.deepEqual(await sizes(0), [0]);
  assert.deepEqual(await sizes(4), [4]);
  assert.deepEqual(await sizes(5), [3, 2]);
  assert.deepEqual(await sizes(9), [3, 3, 3]);
});

const config = {
  model_type: 'bert',
  vocab_size: 18,
  hidden_size: 8,
  num_hidden_layers: 1,
  num_attention_heads: 1,
  intermediate_size: 8,
  max_position_embeddings: 16,
};

test('texts of several windows are encoded as they are by themselves, and told by their place among all', async () => {
  const tokenizer = await Tokenizer.fromJson(JSON.stringify(smallTokenizer()));
  const encoder = TextEncoder.create(config, tokenizer, { precision: 'float64' });
  const words = ['cat', 'query', 'cat cat', 'query cat query'];
  const texts = Array.from({ length: 5000 }, (_, row) => words[row % words.length]!);
  const [all, few] = [await encoder.encode(texts, { dimensions: 5 }), await encoder.encode(words)];
  const [values, expected] = [await all.values(), await few.values()];
  assert.deepEqual(all.shape, [5000, 5]);
  for (let row = 0; row < texts.length; row++)
    for (let k = 0; k < 5; k++)
      assert.ok(Math.abs(Number(values[row * 5 + k]) - Number(expected[(row % 4) * 8 + k])) < 1e-12);
  await assert.rejects(encoder.encode([...texts, 7] as never), fails('INPUT', /texts\[5000\]/));
  const aborted = AbortSignal.abort();
  await assert.rejects(encoder.encode(texts, { signal: aborted }), fails('ABORTED'));
  encoder.dispose();
});

test('a list of texts may be changed as soon as encode has it', async () => {
  const tokenizer = await Tokenizer.fromJson(JSON.stringify(smallTokenizer()));
  const encoder = TextEncoder.create(config, tokenizer, { precision: 'float64' });
  const texts = Array.from({ length: 2500 }, () => 'query');
  const whole = await (await encoder.encode(texts)).values();
  const running = encoder.encode(texts);
  texts.length = 3;
  assert.deepEqual(await (await running).values(), whole);
  encoder.dispose();
});

test('a text without tokens behind the first window is told by its place among all', async () => {
  const { post_processor: _ends, ...bare } = smallTokenizer();
  const tokenizer = await Tokenizer.fromJson(JSON.stringify({ ...bare, post_processor: null }));
  const encoder = TextEncoder.create(config, tokenizer);
  const texts = Array.from({ length: 4500 }, (_, row) => (row === 4321 ? ' ' : 'cat'));
  await assert.rejects(encoder.encode(texts), fails('INPUT', /^Text 4321 /));
  encoder.dispose();
});
