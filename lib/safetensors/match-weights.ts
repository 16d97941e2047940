import { noGrad } from '../tensor/autograd.js';
import type { Parameter } from '../tensor/tensor.js';
import type { StoredTensor } from './safetensors.js';
import { fromStored } from './stored-tensor.js';

/**
 * What is wrong with stored weights for parameters of these shapes: which are missing, which are unexpected, which have another
 * shape. Undefined: nothing.
 *
 * @param isUnused says of a stored name whether it may be there without a parameter
 */
export function weightFaults(
  shapes: ReadonlyMap<string, readonly number[]>,
  stored: ReadonlyMap<string, Pick<StoredTensor, 'shape'>>,
  isUnused: (name: string) => boolean = () => false,
): string | undefined {
  const missing = [...shapes.keys()].filter((name) => !stored.has(name));
  const unexpected = [...stored.keys()].filter((name) => !shapes.has(name) && !isUnused(name));
  const misshapen = [...shapes].flatMap(([name, wanted]) => {
    const found = stored.get(name)?.shape;
    return found === undefined || found.join() === wanted.join()
      ? []
      : [`${name} [${found.join()}], expected [${wanted.join()}]`];
  });
  const faults = [
    ...(missing.length > 0 ? [`missing: ${shorten(missing)}`] : []),
    ...(unexpected.length > 0 ? [`unexpected: ${shorten(unexpected)}`] : []),
    ...(misshapen.length > 0 ? [`of another shape: ${shorten(misshapen)}`] : []),
  ];
  return faults.length === 0 ? undefined : faults.join('; ');
}

/** Copies stored weights, in which {@link weightFaults} has found nothing, into parameters of their names. */
export function copyWeights(
  parameters: readonly Parameter[],
  stored: ReadonlyMap<string, StoredTensor>,
): void {
  noGrad(() => {
    for (const { name, tensor } of parameters) {
      const source = fromStored(stored.get(name)!);
      tensor.copyFrom(source);
      source.dispose();
    }
  });
}

const shorten = (names: readonly string[]): string =>
  names.length <= 8 ? names.join(', ') : `${names.slice(0, 8).join(', ')} and ${names.length - 8} more`;
