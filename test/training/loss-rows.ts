/** Rows of data and models for each loss, made of the pairs of support.ts. */
import { join } from 'node:path';
import type { LossKind } from '../../lib/losses/loss-kind.js';
import type { TrainConfig } from '../../lib/training/config.js';
import { pairs, root, TINY_CONFIG } from './support.js';

/** Rows for a loss of representations: texts in its least columns, and a label of its type. */
export function rowsFor({ columns, label }: LossKind<never>, count = 24): Record<string, unknown>[] {
  const { least, usual = ['anchor', 'positive'] } = columns;
  const names = Array.from(
    { length: Math.max(least, usual.length) },
    (_, k) => usual[k] ?? (k === 2 ? 'negative' : `negative${k - 1}`),
  );
  return pairs(count).map(({ anchor, positive }, row) => {
    const texts = names.map((_, k) =>
      k === 0 ? anchor : k === 1 ? positive : `${positive}, other ${k} than ${row}`,
    );
    const value = {
      number: (row % 5) / 4,
      class: ['x', 'y', 'z'][row % 3],
      numbers: Array(names.length === 1 ? 16 : least - 1)
        .fill(0)
        .map((_, k) => Math.sin(row + k)),
    };
    return {
      ...Object.fromEntries(names.map((name, k) => [name, texts[k]])),
      ...(label && { score: value[label.type] }),
    };
  });
}

/** A model of another kind than the usual one, for a loss that needs it. */
export function modelFor({ perToken, sparse }: LossKind<never>): Pick<TrainConfig, 'model'> | undefined {
  const tokenizer = join(root, 'examples', 'quickstart', 'tokenizer.json');
  const pooling = perToken === true ? 'none' : sparse === true ? 'splade' : undefined;
  return pooling && { model: { config: TINY_CONFIG, tokenizer, pooling } };
}

/** Losses whose labels are 0 or 1. */
export const BINARY = ['online-contrastive'];

/** Rows for a loss of a cross-encoder: pairs with a label, tuples of texts, or queries with lists of documents of different lengths. */
export function pairRowsFor(
  { columns: { usual, least }, pairs: how, label }: LossKind<never>,
  count = 24,
): object[] {
  const all = pairs(count);
  const other = (row: number, k: number) => all[(row + 3 * k + 1) % count]!.positive;
  return all.map(({ anchor, positive }, row) => {
    if (how!.rows === 'pair')
      return {
        [usual![0]!]: anchor,
        [usual![1]!]: row % 2 === 0 ? positive : other(row, 1),
        label: label!.type === 'class' ? ['far', 'near'][(row + 1) % 2] : (row + 1) % 2,
      };
    if (how!.rows === 'ranking') return { anchor, positive, negative: other(row, 1) };
    if (least > 2)
      return { anchor, positive, negative: other(row, 1), negative2: other(row, 2), score: [1, 2] };
    const documents = [positive, ...Array.from({ length: row % 4 }, (_, k) => other(row, k))];
    return { query: anchor, documents, labels: documents.map((_, place) => (place === 0 ? 3 : place % 2)) };
  });
}

/** How many labels the head of a cross-encoder has for a loss. */
export const headOf = ({ pairs: how }: LossKind<never>) => (how!.labels === 'one' ? 1 : 2);
