/** Keyword arguments of a loss, which each rank gives for its own rows and the others need too. */
import { deserialize, serialize } from 'node:v8';
import { describeError, errorOfRank } from '../distributed/meeting.js';
import { GradCacheError } from '../errors.js';
import type { LossOptions, LossWithGradients } from '../losses/loss.js';
import { joinOptionsOf } from '../losses/shared-options.js';
import { reasonOf } from '../options/realms.js';

/**
 * As other ranks are told them. Functions are not sent: those of a rank's own stand for those of all.
 *
 * @throws GradCacheError `INPUT`
 */
export function packedOptions(options: LossOptions): Uint8Array {
  const sent = Object.entries(options).filter(([, value]) => typeof value !== 'function');
  if (sent.length === 0) return new Uint8Array();
  try {
    return serialize(Object.fromEntries(sent));
  } catch (error) {
    throw new GradCacheError(
      'INPUT',
      `the keyword arguments of the loss cannot be told to other ranks: ${reasonOf(error)}. Give lists of numbers or strings`,
    );
  }
}

/**
 * Those of the rows of all ranks.
 *
 * @param given.packed what {@link packedOptions} gave on each rank
 * @param rows of each rank, the number of rows of each tower
 * @param lengths of a representation of each tower, where they are known
 * @throws GradCacheError `INPUT`, `SHAPE`: where those of one rank do not fit its rows, that the loss refuses them
 */
export function joinedOptions(
  loss: LossWithGradients,
  given: { readonly own: LossOptions; readonly packed: readonly Uint8Array[]; readonly rank: number },
  rows: readonly (readonly number[])[],
  lengths: readonly (number | undefined)[],
): LossOptions {
  const { own, packed, rank } = given;
  if (packed.every(({ length }) => length === 0)) return own;
  const functions = Object.entries(own).filter(([, value]) => typeof value === 'function');
  const all = packed.map((each) => ({
    ...(each.length === 0 ? {} : (deserialize(each) as LossOptions)),
    ...Object.fromEntries(functions),
  }));
  try {
    return joinOptionsOf(loss, all, rows);
  } catch (error) {
    for (const [of, options] of all.entries())
      try {
        // By themselves the rows of a rank that has none of some tower fit no loss.
        if (!rows[of]!.includes(0)) loss.checkOptions?.(options, rows[of]!, lengths);
      } catch (refusal) {
        throw of === rank ? refusal : errorOfRank(of, describeError(refusal));
      }
    throw error;
  }
}
