/** A batch for each loss of the list, as the loss takes it. */
import type { LossKind } from '../../lib/losses/loss-kind.js';
import { LOSSES, makeLoss } from '../../lib/losses/loss-kinds.js';
import type { LossOptions, LossWithGradients } from '../../lib/losses/loss.js';
import { readTrainConfig } from '../../lib/training/read-config.js';
import { MUST } from './settings.js';

export interface Given {
  readonly name: string;
  readonly kind: LossKind<never>;
  readonly loss: LossWithGradients;
  /** Rows of each tower that fit. */
  readonly rows: number[];
  /** Keyword arguments that fit. */
  readonly options: LossOptions;
  /** The length of a representation of each tower, or the number of logits of a pair. */
  readonly lengths: number[];
}

/** The batch of a loss by its name. @param rows an even number, of each tower */
export function givenFor(
  name: string,
  { rows, dimension, device = 'cpu' }: { rows: number; dimension: number; device?: string },
): Given {
  const least = { model: 'm', data: 'pairs.jsonl', output: 'out', batch: 64 };
  const config = readTrainConfig({ ...least, loss: { ...MUST[name], kind: name } as never });
  const loss = makeLoss(config.loss, { dimension, device, dtype: 'float64', seed: 1 });
  const kind = LOSSES[name as keyof typeof LOSSES] as unknown as LossKind<never>;
  const towers = kind.pairs === undefined ? kind.columns.least : 1;
  const ofLists = kind.pairs !== undefined && kind.pairs.rows !== 'pair';
  const numbers = Array.from({ length: rows }, (_, row) =>
    Array.from({ length: towers > 1 ? towers - 1 : dimension }, (_, k) => row - k),
  );
  const pairs = Array.from({ length: rows }, (_, row) => row % 2);
  const margins = Array.from({ length: rows / 2 }, (_, list) => list / 2);
  const labels =
    name === 'score-margin-mse'
      ? margins
      : kind.label?.type === 'numbers' && !ofLists
        ? numbers
        : kind.label && pairs;
  return {
    name,
    kind,
    loss,
    rows: Array<number>(towers).fill(rows),
    options: { ...(labels && { labels }), ...(ofLists && { lists: margins.map(() => 2) }) },
    lengths: Array<number>(towers).fill(
      kind.pairs === undefined ? dimension : kind.pairs.labels === 'one' ? 1 : 3,
    ),
  };
}
