import { guarded, guardedAsync, native } from '../addon/native.js';
import { requireCount } from '../options/option-values.js';
import { requireDevice } from './tensor-data.js';

/** Memory in bytes. On a GPU, libtorch's own account; on the CPU, the resident size of the process. */
export interface Memory {
  /** Bytes in use now. */
  readonly allocated: number;
  /** The most that was allocated since the start or {@link resetPeakMemory}. */
  readonly peak: number;
  /** What the allocator has reserved from the driver (GPU). */
  readonly reserved: number;
  /** What could still be allocated. */
  readonly available: number;
}

/**
 * How much memory of a device is in use.
 *
 * @throws GradCacheError `DEVICE`, `CUDA_UNAVAILABLE`
 * @example
 * ```ts
 * const { allocated, peak } = memory('cuda:0'); // in bytes
 * ```
 */
export function memory(device = 'cpu'): Memory {
  requireDevice('device', device);
  return guarded(() => native().memory(device));
}

/**
 * Starts a new peak from what is allocated now.
 *
 * @example
 * ```ts
 * resetPeakMemory('cuda:0');
 * await model.encode(texts);
 * console.log(memory('cuda:0').peak); // of this encoding alone
 * ```
 */
export function resetPeakMemory(device = 'cpu'): void {
  requireDevice('device', device);
  guarded(() => {
    native().resetPeakMemory(device);
  });
}

/**
 * Returns the unused memory of libtorch's allocator to the GPU's driver.
 *
 * @example
 * ```ts
 * model.dispose();
 * emptyCache('cuda:0'); // other programs can have the memory now
 * ```
 */
export function emptyCache(device = 'cpu'): void {
  requireDevice('device', device);
  guarded(() => {
    native().emptyCache(device);
  });
}

/**
 * Settles when all work given to the device so far is done.
 *
 * @example
 * ```ts
 * await model.encode(texts);
 * await synchronize('cuda:0'); // the GPU is done: what is measured now is the whole time
 * ```
 */
export async function synchronize(device = 'cpu'): Promise<void> {
  requireDevice('device', device);
  return guardedAsync(() => native().synchronize(device));
}

/**
 * Number of CPU threads that one kernel uses; sets it where `count` is given.
 *
 * @example
 * ```ts
 * threads(4); // leaves the other cores to other programs
 * ```
 */
export function threads(count?: number): number {
  if (count !== undefined) requireCount('the number of threads', count, 1);
  return guarded(() => native().threads(count));
}

/**
 * Devices that can be used: `'cpu'` and each `'cuda:N'`.
 *
 * @example
 * ```ts
 * const device = devices().includes('cuda:0') ? 'cuda:0' : 'cpu';
 * ```
 */
export function devices(): string[] {
  return guarded(() => native().devices());
}

/** The device that a name stands for: `'auto'` is the first CUDA device where libtorch can use one, else the CPU. */
export function chooseDevice(name: string): string {
  if (name !== 'auto') return name;
  return devices().find((device) => device.startsWith('cuda')) ?? 'cpu';
}
