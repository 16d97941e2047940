/** What a label is: a number, a class (a whole number from 0, or a name), or numbers, such as a score for each candidate. */
export type LabelType = 'number' | 'class' | 'numbers';

export const LABEL_TYPES: readonly LabelType[] = ['number', 'class', 'numbers'];

/** The label of a row: a number, or lists of numbers. */
export type RowLabel = number | readonly RowLabel[];
