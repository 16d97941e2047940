import type { TokenBatch } from '../tokenizer/tokenizer.js';
import { lengthCurriculum } from '../data/length-curriculum.js';
import type { Fill } from '../data/room.js';
import { SettingError, type Fields } from '../options/fields.js';
import { problemOf } from '../options/option-values.js';
import type { Objective } from './objectives/objective.js';

/** Reads the section `curriculum`. @throws GradCacheError `INPUT` */
export function readCurriculum(fields: Fields) {
  const from =
    fields.count('from') ?? fields.missing('from', 'give the greatest length of the first batch, in tokens');
  return {
    from,
    to: fields.number('to', { from, whole: true }),
    over: fields.count('over') ?? fields.missing('over', 'give the number of batches in which lengths grow'),
    tokens: fields.count('tokens') ?? fields.missing('tokens', 'give the tokens that fill a batch'),
  };
}

/** A curriculum with its defaults, but for the greatest length, which may be the model's. */
type Curriculum = ReturnType<typeof readCurriculum>;

/**
 * Batches of so many tokens, whose texts become longer.
 *
 * @throws GradCacheError `INPUT` for lengths that the model does not take
 */
export function fillBy(
  { from, to, over, tokens }: Curriculum,
  objective: Pick<Objective, 'tokenize' | 'maxLength'>,
): Fill {
  const { maxLength } = objective;
  for (const [name, length] of [
    ['from', from],
    ['to', to],
  ] as const) {
    if (length !== undefined && length > maxLength)
      throw new SettingError(
        `config.curriculum.${name}`,
        problemOf(length, `a whole number to ${maxLength}, the most tokens of a text in this run,`),
      );
  }
  return {
    tokens,
    length: lengthCurriculum({ from, to: to ?? maxLength, over }),
    measure: async (rows) => {
      const columns = Object.keys(rows[0]!);
      const texts = Object.fromEntries(columns.map((name) => [name, rows.map((row) => row[name]!)]));
      const made = await objective.tokenize(texts, undefined, { epoch: 0, index: 0 }); // nothing is drawn
      const batches = made as readonly TokenBatch[]; // a curriculum is for texts alone
      return rows.map((_, row) => batches.map(({ offsets }) => offsets[row + 1]! - offsets[row]!));
    },
  };
}
