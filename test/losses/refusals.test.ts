import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GradCache, infoNCE, ModuleEncoder, Tensor } from '../../lib/index.js';
import { LOSSES } from '../../lib/losses/loss-kinds.js';
import type { LossOptions } from '../../lib/losses/loss.js';
import { givenFor, type Given } from './every-loss.js';

// What a loss cannot compute from is refused before anything is encoded: every loss of the list.

const DIMENSION = 8;
const ROWS = 4;

const all = Object.keys(LOSSES).map((name) => givenFor(name, { rows: ROWS, dimension: DIMENSION }));
const labelled = all.filter(({ kind, name }) => kind.label !== undefined && name !== 'score-margin-mse');

/** Asserts that a loss refuses a batch by itself, and what it says. */
function assertRefused(
  { loss, name, rows, options, lengths }: Given,
  change: { rows?: number[]; options?: LossOptions; lengths?: number[] },
  expected: { code: string; message: RegExp },
): void {
  assert.throws(
    () => {
      const seen = change.lengths ?? lengths;
      loss.checkLengths?.(seen);
      loss.checkOptions!({ ...options, ...change.options }, change.rows ?? rows, seen);
    },
    expected,
    name,
  );
}

test('a batch that fits is not refused', () => {
  for (const { loss, rows, options, lengths, name } of all)
    assert.doesNotThrow(() => {
      loss.checkLengths?.(lengths);
      loss.checkOptions!(options, rows, lengths);
    }, name);
});

test('a tower that is missing, a positive that is missing', () => {
  for (const given of all) {
    const { rows, kind } = given;
    if (kind.pairs !== undefined) {
      assertRefused(given, { rows: [ROWS, ROWS] }, { code: 'SHAPE', message: /2 towers; one is needed/ });
      continue;
    }
    assertRefused(given, { rows: rows.slice(1) }, { code: 'SHAPE', message: /needed|needs/ });
    if (rows.length < 2) continue;
    // Of labels for classes there may be rows without a partner.
    const short = { rows: [ROWS, ROWS - 1, ...rows.slice(2)] };
    if (given.name !== 'global-orthogonal-regularization')
      assertRefused(given, short, { code: 'SHAPE', message: /\b4\b.*\b3\b/ });
  }
});

test('labels that are missing, too few, of another type or no numbers', () => {
  for (const given of labelled) {
    const { options, kind, name } = given;
    const { labels, ...others } = options as { labels: unknown[] };
    const without = { ...given, options: others };
    if (kind.label!.optional !== true && !name.endsWith('list-mle'))
      assertRefused(without, {}, { code: 'INPUT', message: /needs (labels|the class of each row)/ });
    assertRefused(given, { options: { labels: labels.slice(1) } }, { code: 'SHAPE', message: /labels for/ });
    for (const wrong of ['x', null, 5, { a: 1 }])
      assertRefused(
        given,
        { options: { labels: wrong } },
        { code: 'INPUT', message: /^labels is .* needed/ },
      );
    for (const wrong of ['x', NaN, null, undefined])
      assertRefused(
        given,
        { options: { labels: [wrong, ...labels.slice(1)] } },
        { code: 'INPUT', message: /^labels\[0\] is .* needed/ },
      );
  }
});

test('labels out of range', () => {
  const range: Record<string, readonly [number, RegExp]> = {
    'batch-all-triplet': [0.5, /whole number/],
    'batch-hard-triplet': [0.5, /whole number/],
    'batch-hard-soft-margin-triplet': [0.5, /whole number/],
    'batch-semi-hard-triplet': [0.5, /whole number/],
    'binary-cross-entropy': [2, /from 0 to 1/],
    'cross-entropy': [3, /from 0 to 2/],
    'online-contrastive': [2, /0 or 1/],
    softmax: [3, /from 0 to 2/],
  };
  for (const given of all.filter(({ name }) => name in range)) {
    const [wrong, message] = range[given.name]!;
    const labels = [wrong, 1, 0, 1];
    assertRefused(given, { options: { labels } }, { code: 'INPUT', message });
  }
});

test('keyword arguments that a loss does not know, or that are none', () => {
  for (const given of all) {
    assertRefused(given, { options: { elsewhere: 1 } }, { code: 'INPUT', message: /'elsewhere'; it takes/ });
    for (const wrong of ['x', null, []])
      assert.throws(
        () => {
          given.loss.checkOptions!(wrong as never, given.rows);
        },
        { code: 'INPUT', message: /object/ },
        given.name,
      );
  }
});

test('representations of another length than a loss was made for', () => {
  const wrong = { lengths: [5, 5] };
  const find = (name: string): Given => all.find((given) => given.name === name)!;
  assertRefused(find('softmax'), wrong, { code: 'SHAPE', message: /dimension 8, and these have 5/ });
  for (const name of ['mse', 'embed-distill'])
    assertRefused(find(name), wrong, { code: 'SHAPE', message: /have 8 numbers, the model's 5/ });
  for (const given of all.filter(({ kind }) => kind.pairs?.labels === 'one'))
    assertRefused(given, { lengths: [3] }, { code: 'SHAPE', message: /3 labels.* one label/ });
  assertRefused(find('cross-entropy'), { lengths: [1] }, { code: 'SHAPE', message: /1 label/ });
});

test('a step refuses them before its first chunk', async () => {
  let forwards = 0;
  const weight = Tensor.from(
    Float64Array.from({ length: DIMENSION }, (_, k) => k + 1),
    { shape: [1, DIMENSION] },
  );
  weight.requiresGrad = true;
  const encoder = new ModuleEncoder({
    forward: (batch: Tensor) => {
      forwards++;
      return batch.matmul(weight);
    },
    parameters: () => [{ name: 'weight', tensor: weight, decay: false }],
  });
  const batch = (rows: number): Tensor =>
    Tensor.from(
      Float64Array.from({ length: rows }, (_, k) => k + 1),
      { shape: [rows, 1] },
    );
  for (const { name, loss, rows, options, kind } of all) {
    if (kind.perToken === true || kind.sparse === true || kind.pairs !== undefined) continue;
    const encoders = rows.map(() => encoder);
    const step = new GradCache<readonly (typeof encoder)[]>({ encoders, loss, chunk: { sequences: 2 } });
    const inputs = rows.map(batch);
    await assert.rejects(step.step(inputs, { loss: { ...options, elsewhere: 1 } }), { code: 'INPUT' }, name);
    await assert.rejects(
      step.lossOf(inputs, { loss: { ...options, elsewhere: 1 } }),
      { code: 'INPUT' },
      name,
    );
  }
  assert.equal(forwards, 0);
  const step = new GradCache({ encoders: [encoder, encoder], loss: infoNCE(), chunk: { sequences: 2 } });
  await step.step([batch(4), batch(4)]);
  assert.ok(forwards > 0);
});
