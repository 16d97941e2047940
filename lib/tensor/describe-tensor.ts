import { inspect } from 'node:util';
import { native } from '../addon/native.js';
import { tidy } from './scope.js';
import type { TensorValues } from './tensor-data.js';

/** What of a Tensor is looked at. */
interface Described {
  readonly disposed: boolean;
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly device: string;
  readonly requiresGrad: boolean;
  readonly size: number;
  narrow(dimension: number, start: number, length: number): Described;
  reshape(shape: readonly number[]): Described;
  valuesSync(): TensorValues;
}

/** Elements that are shown. */
const SHOWN = 6;

/** What `console.log` shows of a tensor. Those on a GPU show no elements: the event loop would have to wait for them. */
export function describeTensor(tensor: Described): string {
  if (tensor.disposed) return 'Tensor { disposed }';
  const { shape, dtype, device, requiresGrad } = tensor;
  const parts = [`shape: [${shape.join(', ')}]`, `dtype: ${dtype}`, `device: ${device}`];
  if (requiresGrad) parts.push('requiresGrad: true');
  const elements = device === 'cpu' ? firstElements(tensor) : undefined;
  if (elements !== undefined) {
    const rest = tensor.size > elements.length ? ['…'] : [];
    parts.push(`values: [${[...elements, ...rest].join(', ')}]`);
  }
  return `Tensor { ${parts.join(', ')} }`;
}

/** The first elements, row by row, as they are written; undefined where no typed array holds them. */
function firstElements(tensor: Described): string[] | undefined {
  if (tensor.size === 0) return [];
  const read = () => [...beginning(tensor).valuesSync()].map((value) => inspect(value));
  try {
    return tidy(() => native().withGradMode(false, read));
  } catch {
    return undefined;
  }
}

/** The first elements in one dimension, without copying more than them. */
function beginning(tensor: Described): Described {
  let part = tensor;
  while (part.shape.length > 1) {
    const [rows = 0, ...row] = part.shape;
    const width = row.reduce((product, extent) => product * extent, 1);
    const wanted = Math.min(rows, Math.ceil(SHOWN / width));
    part = part.narrow(0, 0, wanted).reshape(wanted === 1 ? row : [-1]);
  }
  const flat = part.reshape([-1]);
  return flat.narrow(0, 0, Math.min(flat.size, SHOWN));
}
