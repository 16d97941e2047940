/** `gradcache train --gpus` over NCCL: what test/distributed/train.test.ts shows over Gloo. Left out on fewer than two GPUs. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { devices } from '../../lib/index.js';
import type { TrainEvent } from '../../lib/training/events.js';
import { gradcache } from '../cli/program.js';
import { digests, pairs, shortRun, writeRows } from '../training/support.js';

const gpus = devices().filter((name) => name.startsWith('cuda')).length;
const skip = gpus < 2 && `${gpus} of two GPUs`;

process.env.NCCL_NVLS_ENABLE ??= '0'; // multicast of NVLink needs rights that containers often lack

test(
  'train --gpus 2 makes the steps of one GPU, and a resumed run goes on from its checkpoint',
  { skip },
  async (t) => {
    const { folder, config } = await shortRun(t);
    const held = await writeRows(join(folder, 'held.jsonl'), pairs(23));
    const file = join(folder, 'run.json');
    const run = async (output: string, settings: object, ...flags: string[]): Promise<TrainEvent[]> => {
      const given = {
        ...config,
        batch: 17,
        steps: 4,
        device: 'cuda',
        dropout: 0,
        evaluation: { data: held },
      };
      await writeFile(file, JSON.stringify({ ...given, ...settings, output: join(folder, output) }));
      const { code, stdout, stderr } = await gradcache(['train', '--config', file, '--json', ...flags]);
      assert.equal(code, 0, stderr);
      return stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as TrainEvent);
    };
    const lossesOf = (events: readonly TrainEvent[]) =>
      events.flatMap((event) => (event.type === 'step' ? [event.loss] : []));
    const alone = lossesOf(await run('alone', {}));
    const events = await run('two', { gpus: 2, checkpoint: { every: 2, keep: 9 } });
    const shared = lossesOf(events);
    for (const [place, loss] of alone.entries())
      assert.ok(Math.abs(shared[place]! - loss) < 1e-3, `${shared.join()}; alone ${alone.join()}`);
    const [start] = events;
    assert.equal(start?.type === 'start' && `${start.ranks} ${start.device}`, '2 cuda:0');
    const resumed = await run('again', { gpus: 'all', resume: join(folder, 'two', 'checkpoint-2') });
    for (const [place, loss] of lossesOf(resumed).entries())
      assert.ok(Math.abs(loss - shared[place + 2]!) < 1e-3);
    assert.ok('model.safetensors' in (await digests(join(folder, 'again', 'model'))));
  },
);

test('embed --gpus 2 writes the vectors of one GPU', { skip }, async (t) => {
  const { folder, config } = await shortRun(t);
  const input = join(folder, 'texts.txt');
  await writeFile(
    input,
    pairs()
      .map(({ anchor }) => `${anchor}\n`)
      .join(''),
  );
  const embed = async (name: string, ...flags: string[]): Promise<Float32Array> => {
    const output = join(folder, `${name}.npy`);
    const model = config.model as string;
    const { code, stderr } = await gradcache([
      ...['embed', '--model', model, '--input', input, '--output', output, '--device', 'cuda', ...flags],
    ]);
    assert.equal(code, 0, stderr);
    const bytes = await readFile(output);
    return new Float32Array(
      bytes.buffer.slice(bytes.byteOffset + bytes.length - 60 * 16 * 4, bytes.byteOffset + bytes.length),
    );
  };
  const [alone, shared] = [await embed('alone'), await embed('shared', '--gpus', '2')];
  for (const [place, value] of alone.entries()) assert.ok(Math.abs(shared[place]! - value) < 1e-4);
});
