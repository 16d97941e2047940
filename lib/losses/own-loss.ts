import type { LossKind } from './loss-kind.js';

/** What the settings of a run call a loss that is an object of the program. */
export const OWN_LOSS = 'own';

/** What such a loss needs of the data: what the program names, and no more. */
export const ownLossKind: LossKind<object> = {
  about: 'an object of the program',
  columns: { least: 1, needed: 'one or more different columns' },
  label: { type: 'numbers', needed: 'a number or a list of numbers', optional: true, onlyNamed: true },
  takesWeights: true,
  settings: {},
  make: () => {
    throw new Error('the program gives the loss itself');
  },
};
