/*
 * By what a loss knows the rows of a batch: those that share something are no negatives of each other.
 */
import type { BatchIds } from '../../data/row-ids.js';
import { masksDuplicates, type FilledLossConfig } from '../../losses/loss-kinds.js';
import type { LossOptions } from '../../losses/loss.js';
import { OWN_LOSS } from '../../losses/own-loss.js';
import { ofRows } from './objective.js';

/** Put before an id, so that no text is taken for it. */
const MARK = '\u0000';

/** Columns side by side: the texts of each row. */
export function textsOfRows(columns: readonly (readonly string[])[]): string[][] {
  const [first = []] = columns;
  return first.map((_, row) => columns.map((column) => column[row]!));
}

/** The texts and the ids of each row. @param own the rows of `ids` that they are; undefined: all */
export function identitiesOf(
  texts: readonly (readonly string[])[],
  ids: BatchIds,
  own: Uint32Array | undefined,
): readonly (readonly string[])[] {
  if (ids === undefined) return texts;
  const ofTexts = ofRows(ids, own);
  return texts.map((each, row) => [...each, ...ofTexts[row]!.map((id) => MARK + id)]);
}

/** The keyword argument `ids` of the loss of a run, where it takes it. A loss of the program gets the ids of the data as they are. @param texts those of each row */
export function idOptions(
  { loss }: { readonly loss: FilledLossConfig },
  texts: () => readonly (readonly string[])[],
  ids: BatchIds,
  own: Uint32Array | undefined,
): LossOptions {
  if (masksDuplicates(loss)) return { ids: identitiesOf(texts(), ids, own) };
  return loss.kind === OWN_LOSS && ids !== undefined ? { ids: ofRows(ids, own) } : {};
}
