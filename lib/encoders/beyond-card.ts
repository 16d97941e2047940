/** What the user should know of a model whose texts may be longer than its folder states; nothing where they may not. */
export function beyondCard(model: {
  readonly maxLength: number;
  readonly statedMaxLength: number;
}): string[] {
  const { maxLength, statedMaxLength } = model;
  if (maxLength <= statedMaxLength) return [];
  return [
    `texts are cut at ${maxLength} tokens, and the model states ${statedMaxLength}: it has the positions, but may not have been ` +
      'trained on such texts',
  ];
}
