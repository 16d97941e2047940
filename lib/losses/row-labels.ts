/** What a loss needs of the label of a row by itself, so that the one who reads the data can name the line that has another. */
import type { RowLabel } from '../options/label-type.js';
import { plural } from '../options/plural.js';

/** What is needed in place of the label of a row; undefined: it is good. @param others how many texts the row has behind its first */
export type LabelNeeds = (label: RowLabel, others: number) => string | undefined;

const isNumber = (label: RowLabel, from: number, to: number): boolean =>
  typeof label === 'number' && label >= from && label <= to;

/** The greatest number of float32. */
const GREATEST = 2 ** 128 - 2 ** 104;

export const inFloat32: LabelNeeds = (label) =>
  isNumber(label, -GREATEST, GREATEST) ? undefined : 'a number that float32 has';

export const fromZeroToOne: LabelNeeds = (label) =>
  isNumber(label, 0, 1) ? undefined : 'a number from 0 to 1';

export const zeroOrOne: LabelNeeds = (label) => (label === 0 || label === 1 ? undefined : '0 or 1');

const isList = (label: RowLabel, length: number): boolean =>
  typeof label === 'object' && label.length === length && label.every((each) => typeof each === 'number');

/** A number for each text behind the first one. */
export const oneForEach: LabelNeeds = (label, others) =>
  isList(label, others) || (others === 1 && typeof label === 'number')
    ? undefined
    : `a list of ${plural(others, 'number')}`;

/** A margin for each negative, or a score for the positive and each negative. */
export const marginsOrScores: LabelNeeds = (label, others) => {
  if (isList(label, others - 1) || isList(label, others) || (others === 2 && typeof label === 'number'))
    return undefined;
  const margins = others === 2 ? 'a margin' : `a list of ${others - 1} margins`;
  return `${margins} or a list of ${others} scores`;
};
