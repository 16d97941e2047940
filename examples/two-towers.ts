/**
 * Two towers of different kinds: texts on one side, vectors of features on the other (of products, images, users). The
 * second encoder is a TypeScript class. Here the features of a text are made up: a random projection of its letters.
 *
 *     node dist/examples/two-towers.js MODEL_FOLDER PAIRS.jsonl
 */
import {
  AdamW,
  batches,
  call,
  GradCache,
  infoNCE,
  ModuleEncoder,
  readPairs,
  Tensor,
  TextEncoder,
  withSeed,
} from 'gradcache';
import type { Module, Parameter } from 'gradcache';

/** Two linear layers from features [rows, inputs] to representations [rows, outputs]. */
class FeatureEncoder implements Module<Tensor> {
  readonly #parameters: Parameter[];

  constructor(inputs: number, hidden: number, outputs: number) {
    const weight = (name: string, rows: number, columns: number): Parameter => {
      const tensor = withSeed(rows, () =>
        call('aten::randn', [rows, columns], { dtype: 'float32' }).mul(columns ** -0.5),
      );
      tensor.requiresGrad = true;
      return { name, tensor, decay: true };
    };
    const bias = (name: string, size: number): Parameter => {
      const tensor = Tensor.from(new Float32Array(size));
      tensor.requiresGrad = true;
      return { name, tensor, decay: false };
    };
    this.#parameters = [
      weight('features.0.weight', hidden, inputs),
      bias('features.0.bias', hidden),
      weight('features.1.weight', outputs, hidden),
      bias('features.1.bias', outputs),
    ];
  }

  forward(features: Tensor): Tensor {
    const [first, firstBias, second, secondBias] = this.#parameters.map(({ tensor }) => tensor) as [
      Tensor,
      Tensor,
      Tensor,
      Tensor,
    ];
    return features.linear(first, firstBias).gelu().dropout(0.1).linear(second, secondBias);
  }

  parameters(): Parameter[] {
    return this.#parameters;
  }
}

const FEATURES = 64;

/** Stands in for real features: how often each letter comes in each third of a text. */
function featuresOf(texts: readonly string[]): Tensor {
  const values = new Float32Array(texts.length * FEATURES);
  texts.forEach((text, row) => {
    for (const [place, character] of [...text.toLowerCase()].entries()) {
      const slot = ((character.codePointAt(0) ?? 0) * 3 + Math.floor((3 * place) / text.length)) % FEATURES;
      values[row * FEATURES + slot]! += 1;
    }
  });
  return Tensor.from(values, { shape: [texts.length, FEATURES] });
}

async function main([folder, pairs]: readonly string[]): Promise<void> {
  if (folder === undefined || pairs === undefined)
    throw new Error('usage: two-towers.js MODEL_FOLDER PAIRS.jsonl');
  const texts = await TextEncoder.load(folder);
  const features = new FeatureEncoder(FEATURES, 128, texts.dimension);
  const gradcache = new GradCache({
    encoders: [texts, new ModuleEncoder(features)],
    loss: infoNCE({ temperature: { initial: 0.07, learned: true }, symmetric: true }),
    chunk: ['auto', { sequences: 64 }], // each tower has its own
  });
  // The new tower learns faster than the one that is trained already.
  const optimizer = new AdamW(
    [
      { parameters: texts.parameters(), lrScale: 0.1 },
      { parameters: features.parameters() },
      { parameters: gradcache.parameters().filter(({ name }) => name.startsWith('loss.')) },
    ],
    { lr: 1e-3, maxGradNorm: 1 },
  );
  let step = 0;
  for await (const { columns } of batches(readPairs(pairs), { size: 256, epochs: 4 })) {
    const vectors = featuresOf(columns.positive!);
    const { loss } = await gradcache.step([texts.tokenize(columns.anchor!), vectors]);
    vectors.dispose();
    await optimizer.step();
    console.log(`step ${++step}: loss ${loss.toFixed(4)}`);
  }
}

void main(process.argv.slice(2));
