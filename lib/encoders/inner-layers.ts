import { refused, requireCount } from '../options/option-values.js';

/** Which layers' representations training takes: all of them, or some by their numbers. 0 is what the embeddings give. */
export type Layers = 'all' | readonly number[];

/** @throws GradCacheError `INPUT` for what is no such choice, whatever the model is */
export function checkLayers(given: unknown): void {
  if (given === 'all') return;
  if (!Array.isArray(given) || given.length === 0 || new Set(given).size < given.length)
    throw refused('layers', given, "'all', or a list of numbers of different layers, such as [3, 6, 9],");
  for (const [place, layer] of given.entries()) requireCount(`layers[${place}]`, layer, 0);
}

/**
 * The layers in the order in which their representations lie side by side: first the last one, which is always among them,
 * then the others from the embeddings on.
 *
 * @param depth the number of the last layer
 * @throws GradCacheError `INPUT` for a layer that the model does not have
 */
export function layersOf(asked: Layers | undefined, depth: number): readonly number[] {
  if (asked === 'all') return [depth, ...Array.from({ length: depth }, (_, layer) => layer)];
  const beyond = asked?.findIndex((layer) => layer > depth) ?? -1;
  if (beyond >= 0)
    throw refused(`layers[${beyond}]`, asked![beyond], `a whole number from 0 to ${depth}, the last layer,`);
  return [depth, ...[...(asked ?? [])].filter((layer) => layer < depth).sort((a, b) => a - b)];
}
