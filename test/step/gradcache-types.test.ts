/** What the compiler says of a step: it compiles, and each `@ts-expect-error` stands where a mistake must be told. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  GradCache,
  infoNCE,
  ModuleEncoder,
  Tensor,
  type AnyEncoder,
  type Encoder,
  type Loss,
  type LossOptions,
  type TokenBatch,
} from '../../lib/index.js';
import { fails } from '../robustness/failures.js';

declare const texts: Encoder<TokenBatch>;
declare const tokens: TokenBatch;
declare const image: Tensor;

/** Never called: only its types are looked at. */
export async function steps(images: ModuleEncoder): Promise<void> {
  const two = new GradCache({ encoders: [texts, images], loss: infoNCE() });
  await two.step([tokens, image]);
  await two.step([Promise.resolve(tokens), image]);
  // @ts-expect-error the batches are exchanged
  await two.step([image, tokens]);
  // @ts-expect-error a batch is missing
  await two.step([tokens]);
  // @ts-expect-error texts that are not tokenised
  await two.step([['a text'], image]);

  const tied = new GradCache({ encoders: [texts, texts], loss: infoNCE() });
  const loaded: TokenBatch[] = [tokens, tokens];
  await tied.step(loaded);

  const any: AnyEncoder[] = [texts, images];
  const loader: unknown[] = [tokens, image];
  const unknownTowers: GradCache = new GradCache({ encoders: any, loss: infoNCE() });
  await unknownTowers.step(loader);
  const one: GradCache = two;
  await one.step(loader);

  // A loss function has one tensor for each tower, then the options.
  new GradCache({
    encoders: [texts, texts],
    loss: (a, b, { margin }) => a.sub(b).sum().mul(Number(margin)),
  });
  // @ts-expect-error there is no third tower
  new GradCache({ encoders: [texts, texts], loss: (a, b, c) => a.sub(b).matmul(c).sum() });
  new GradCache({ encoders: [texts, texts, images], loss: (a, b, c) => a.sub(b).matmul(c).sum() });
  const apart = (a: Tensor, b: Tensor, { margin }: LossOptions): Tensor => a.sub(b).sum().mul(Number(margin));
  const declared: Loss = (a, b) => a.sub(b).sum();
  for (const loss of [apart, declared]) new GradCache({ encoders: [texts, texts], loss });
}

test('what the compiler refuses is refused at run time too', async () => {
  const encoder = new ModuleEncoder({ forward: (input: Tensor) => input, parameters: () => [] });
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss: infoNCE() });
  const rows = Tensor.from([1, 2], { shape: [1, 2] });
  // @ts-expect-error texts in place of a tensor
  await assert.rejects(gradcache.step([rows, 'no tensor']), fails('INPUT'));
  await assert.rejects(gradcache.step([rows] as never), fails('INPUT', /1 inputs for 2/));
});
