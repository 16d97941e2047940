/** Settings of losses that have no default, by the name of the loss in a configuration. */
export const MUST: Readonly<Record<string, object>> = {
  'gist-embed': { guide: 'self' },
  softmax: { classes: 3 },
};
