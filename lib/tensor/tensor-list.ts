import { guarded, guardedAsync, native, type TensorHandle, type TensorListHandle } from '../addon/native.js';

/** A Tensor. Its methods call operators, which take lists: it is not known here. */
type Held = { readonly handle: TensorHandle };

/**
 * Some tensors as one native list, which {@link callAsync} takes in place of an array. For the few hundred tensors of a model
 * this saves more time than most operators need. The list keeps their memory until it is disposed.
 */
export class TensorList {
  /** For the package's own modules. */
  readonly handle: TensorListHandle;

  /** @throws GradCacheError `DISPOSED` */
  static of(tensors: readonly Held[]): TensorList {
    const handles = tensors.map(({ handle }) => handle);
    return new TensorList(guarded(() => new (native().TensorListHandle)(handles)));
  }

  private constructor(handle: TensorListHandle) {
    this.handle = handle;
  }

  get length(): number {
    return this.handle.length;
  }

  /** Those at these places; the caller disposes it. */
  select(places: Int32Array): TensorList {
    return new TensorList(guarded(() => this.handle.select(places)));
  }

  /**
   * The gradients of those tensors that have one; `places` says which these are.
   *
   * @throws GradCacheError `INPUT` while a backward adds to one of them
   */
  gradients(): { readonly places: Int32Array; readonly gradients: TensorList } {
    const { places, gradients } = guarded(() => this.handle.gradients());
    return { places, gradients: new TensorList(gradients) };
  }

  /** The places of the tensors that share device, element type and key: operators on lists are fast for such. */
  alike(keys?: Int32Array): Int32Array[] {
    return guarded(() => this.handle.alike(keys));
  }

  /** The 2-norm of all elements of tensors that share device and element type, off the event loop. */
  async norm(): Promise<number> {
    return guardedAsync(() => this.handle.norm());
  }

  /** For each tensor whether it has an element that is not zero, off the event loop. */
  async anyNonZero(): Promise<boolean[]> {
    return guardedAsync(() => this.handle.anyNonZero());
  }

  dispose(): void {
    this.handle.dispose();
  }
}

/** Runs `use` with the same places of several lists. What it is given is disposed at its end. */
export async function withPlaces<const Lists extends readonly TensorList[], T>(
  lists: Lists,
  places: Int32Array,
  use: (...parts: { [Place in keyof Lists]: TensorList }) => Promise<T>,
): Promise<T> {
  const parts: TensorList[] = [];
  try {
    for (const list of lists) parts.push(list.select(places));
    return await use(...(parts as { [Place in keyof Lists]: TensorList }));
  } finally {
    for (const part of parts) part.dispose();
  }
}

/** Runs `use` once for each part of a list whose tensors share device and element type, one after the other. */
export async function forAlike(list: TensorList, use: (part: TensorList) => Promise<unknown>): Promise<void> {
  for (const places of list.alike()) await withPlaces([list], places, use);
}
