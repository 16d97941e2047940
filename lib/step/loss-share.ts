import { meetingOf, meetInLoss } from '../distributed/meeting.js';
import type { Ranks } from '../distributed/ranks.js';
import { SharedGradients } from '../distributed/shared-gradients.js';
import { GradCacheError } from '../errors.js';
import type { LossShare } from '../losses/loss.js';
import { refused } from '../options/option-values.js';
import { ParameterSet } from '../tensor/parameter-set.js';
import { Tensor, type DType } from '../tensor/tensor.js';

/**
 * The ranks as a loss sees them that they compute together.
 *
 * @param phase what they meet for in the end
 * @param rows of each rank the number of rows of each tower, where each has those of its own alone
 */
export function lossShare(ranks: Ranks, phase: string, rows?: readonly (readonly number[])[]): LossShare {
  const { handle: group, rank, size } = ranks;
  return {
    group,
    phase: meetingOf(phase),
    rank,
    size,
    ...(rows && { rows }),
    numbers: (own) => {
      if (!Array.isArray(own) || own.length > NUMBERS || own.some((each) => typeof each !== 'number'))
        throw refused('what a loss tells the ranks', own, `a list of at most ${NUMBERS} numbers`);
      return ranks.exchange((of) => meetInLoss(of, phase, own));
    },
    sum: (tensor) =>
      ranks.exchange(async (of) => {
        if (!(tensor instanceof Tensor)) throw refused('what a loss adds up', tensor, 'a Tensor');
        requireSame(await meetInLoss(of, phase, [tensor.size, TYPES.indexOf(tensor.dtype)]));
        await of.allReduce(tensor.handle, phase);
      }),
    countOnce: (parameters) => {
      if (rank > 0) new SharedGradients(new ParameterSet(parameters).list).zero();
    },
  };
}

/** How many fit into what ranks tell each other before an exchange. */
const NUMBERS = 8;

/** By their places ranks tell each other types. */
const TYPES: readonly DType[] = [
  'float64',
  'float32',
  'float16',
  'bfloat16',
  'int64',
  'int32',
  'int16',
  'int8',
  'uint8',
  'bool',
];

/** Gloo ends the process where ranks exchange different amounts. @throws GradCacheError `DISTRIBUTED` */
function requireSame(all: readonly (readonly number[])[]): void {
  const other = all.findIndex((each) => each.join() !== all[0]!.join());
  if (other < 0) return;
  const said = (rank: number): string => `${all[rank]![0]} numbers of ${TYPES[all[rank]![1]!]}`;
  throw new GradCacheError(
    'DISTRIBUTED',
    `the loss adds up ${said(other)} on rank ${other}, and ${said(0)} on rank 0: give all ranks the same loss`,
  );
}
