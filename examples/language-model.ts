/**
 * Trains a small language model on the bytes of a text, with the exact gradient across segments, and lets it write.
 * `gradcache language train` does the same with checkpoints and held-out text.
 *
 *     node dist/examples/language-model.js TEXT [STEPS]
 */
import { readFile } from 'node:fs/promises';
import { AcrossSegments, AdamW, LanguageModel, type Segment } from 'gradcache';

const ROWS = 16;
const LENGTH = 32; // tokens of a row in a segment
const SEGMENTS = 4; // of a step: the gradient goes back through all of them, at the memory of one

/** The segments of a step. Each row reads a part of the text of its own, in order, and predicts the next byte. */
function segmentsOf(text: Uint8Array, step: number): Segment[] {
  const part = Math.floor((text.length - 1) / ROWS);
  const stepsOfPart = Math.floor(part / (SEGMENTS * LENGTH));
  if (stepsOfPart === 0) throw new Error(`the text needs at least ${ROWS * SEGMENTS * LENGTH + 1} bytes`);
  return Array.from({ length: SEGMENTS }, (_, number) => {
    const from = ((step % stepsOfPart) * SEGMENTS + number) * LENGTH;
    const bytesAt = (shift: number) =>
      Int32Array.from(
        { length: ROWS * LENGTH },
        (_, place) => text[Math.floor(place / LENGTH) * part + from + (place % LENGTH) + shift]!,
      );
    return { rows: ROWS, inputs: bytesAt(0), targets: bytesAt(1) };
  });
}

async function main([file, steps = '300']: readonly string[]): Promise<void> {
  if (file === undefined) throw new Error('usage: language-model.js TEXT [STEPS]');
  const text = await readFile(file);
  const model = LanguageModel.create({ vocabulary: 256, cell: 'sru', layers: 2, width: 128 }, { seed: 1 });
  const training = new AcrossSegments(model, { across: 'exact' });
  const optimizer = new AdamW(training.parameters(), { lr: 5e-3, maxGradNorm: 1 });
  for (let step = 0; step < Number(steps); step++) {
    const { loss } = await training.step(segmentsOf(text, step)); // the state goes on to the next step
    await optimizer.step();
    if ((step + 1) % 10 === 0)
      console.log(`step ${step + 1}: loss ${loss.toFixed(4)}, ${(loss / Math.LN2).toFixed(3)} bits a byte`);
  }
  const written = await model.generate(Int32Array.from(text.subarray(0, 16)), {
    tokens: 200,
    temperature: 0.8,
  });
  console.log(Buffer.from(written).toString());
}

void main(process.argv.slice(2));
