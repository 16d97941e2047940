import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { StoredHardest } from '../../lib/training/hardest-file.js';

/** What ends an element, starts a script, breaks an attribute or a line, and turns the direction of text. */
export const HOSTILE =
  '</script><script>document.title="broken"</script><img src=x onerror=alert(1)>"\'&<!-- \u2028\u202e x';

/** Writes the folder of a run as `train` leaves it. */
export async function writeRun(
  folder: string,
  {
    steps = 30,
    lr = 1e-3,
    text = 'a text',
    finished = true,
  }: { steps?: number; lr?: number; text?: string; finished?: boolean } = {},
): Promise<string> {
  await mkdir(folder, { recursive: true });
  const settings = { model: text, data: [`${text}.jsonl`], batch: 64, optimizer: { lr, kind: 'adamw' } };
  const facts = {
    rows: 1000,
    leftOver: 3,
    columns: ['anchor', text],
    parameters: 22e6,
    device: 'cpu',
    ranks: 1,
  };
  const events: object[] = [
    { type: 'start', steps, done: 0, ...facts, precision: 'float32', resumed: null, settings },
    { type: 'note', message: text },
    { type: 'skipped', message: `pairs.jsonl, line 7: ${text}` },
    { type: 'evaluation', step: 0, scores: { 'recall@10': 0.1, loss: 5 } },
  ];
  for (let step = 1; step <= steps; step++) {
    const speed = {
      tokensPerSecond: 1000 + step,
      pairsPerSecond: 100,
      seconds: 0.5,
      secondsLeft: steps - step,
    };
    const counts = { pairs: 64, tokens: 600, truncated: 1, peakMemory: 2 ** 30 + step };
    const figures = { loss: 5 / step, lr: lr / step, gradNorm: 1, temperature: 0.05 };
    events.push({ type: 'step', step, steps, epoch: 0, ...figures, ...speed, ...counts });
    if (step % 10 === 0)
      events.push({ type: 'evaluation', step, scores: { 'recall@10': 0.1 + step / 100, loss: 5 / step } });
  }
  if (finished) events.push({ type: 'saved', step: steps, folder: join(folder, 'model') });
  const begun = Date.UTC(2026, 0, 1);
  const lines = events.map((event, at) =>
    JSON.stringify({ ...event, time: new Date(begun + 1000 * at).toISOString() }),
  );
  await writeFile(join(folder, 'metrics.jsonl'), lines.map((line) => `${line}\n`).join(''));
  const hardest: StoredHardest = {
    kind: 'queries',
    step: steps,
    measured: 100,
    missed: 40,
    hardest: [
      {
        query: text,
        right: { text: `right ${text}`, rank: 3, score: 0.2 },
        wrong: [{ text: `wrong ${text}`, score: 0.9 }],
      },
      { query: 'beyond', right: { text: 'b', rank: null, score: null }, wrong: [{ text: 'c', score: 0.5 }] },
    ],
  };
  await writeFile(join(folder, 'hardest.json'), JSON.stringify(hardest));
  return folder;
}
