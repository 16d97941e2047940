import { GradCacheError } from './errors.js';
import { guarded, guardedAsync, native } from './native.js';

/** Memory in bytes. On a GPU, libtorch's own account; on the CPU, the resident size of the process. */
export interface Memory {
  readonly allocated: number;
  /** The most that was allocated since the start or {@link resetPeakMemory}. */
  readonly peak: number;
  /** What the allocator holds from the driver (GPU). */
  readonly reserved: number;
  /** What could still be had. */
  readonly available: number;
}

/** @throws GradCacheError `DEVICE`, `CUDA_UNAVAILABLE` */
export function memory(device = 'cpu'): Memory {
  return guarded(() => native().memory(device));
}

/** Starts a new peak from what is allocated now. */
export function resetPeakMemory(device = 'cpu'): void {
  guarded(() => {
    native().resetPeakMemory(device);
  });
}

/** Gives memory that libtorch's allocator holds without using it back to the GPU's driver. */
export function emptyCache(device = 'cpu'): void {
  guarded(() => {
    native().emptyCache(device);
  });
}

/** Settles when all work given to the device so far is done. */
export function synchronize(device = 'cpu'): Promise<void> {
  return guardedAsync(() => native().synchronize(device));
}

/** Number of CPU threads that one kernel uses; sets it where `count` is given. */
export function threads(count?: number): number {
  if (count !== undefined && !Number.isSafeInteger(count)) {
    throw new GradCacheError('INPUT', `the number of threads must be an integer, got ${String(count)}`);
  }
  return guarded(() => native().threads(count));
}

/** Devices that can be used: `'cpu'` and each `'cuda:N'`. */
export function devices(): string[] {
  return guarded(() => native().devices());
}
