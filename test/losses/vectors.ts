import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tensor, type Loss } from '../../lib/index.js';
import { withGradients } from '../../lib/losses/loss.js';
import { assertClose } from '../oracle/compare.js';
import { root } from '../training/support.js';

/** What another library makes of some representations, in float64. */
interface Vector {
  readonly id: string;
  readonly loss_class: string;
  readonly params: Readonly<Record<string, unknown>>;
  readonly reps: readonly (readonly (readonly number[])[])[];
  /** Keyword arguments of the loss. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly loss: number;
  readonly grads: readonly (readonly (readonly number[])[])[];
}

/** Where such values lie, beside the repository; GRADCACHE_LOSS_VECTORS names another place. */
const file = process.env['GRADCACHE_LOSS_VECTORS'] ?? join(root, '..', 'shared', 'data', 'loss-vectors.json');

/** Why tests of them are skipped. */
export const vectorsAbsent = existsSync(file) ? false : `there is no ${file}`;

/** The values of one class of loss. */
export function vectorsOf(lossClass: string): Vector[] {
  const all = JSON.parse(readFileSync(file, 'utf8')) as Vector[];
  return all.filter(({ loss_class }) => loss_class === lossClass);
}

/** Compares a loss and its gradients with those of a vector. */
export async function assertLikeVector(loss: Loss, vector: Vector, options = {}): Promise<void> {
  const towers = vector.reps.map((rows) =>
    Tensor.from(Float64Array.from(rows.flat()), { shape: [rows.length, rows[0]!.length] }),
  );
  const result = await withGradients(loss).compute(towers, 1, options);
  assertClose([result.loss], [vector.loss], 1e-9, vector.id);
  for (const [tower, rows] of vector.grads.entries()) {
    const gradient = (await result.gradients[tower]!.values()) as Float64Array;
    assertClose(gradient, rows.flat(), 1e-9, `${vector.id}, tower ${tower}`);
  }
  assert.equal(result.gradients.length, vector.grads.length);
}
