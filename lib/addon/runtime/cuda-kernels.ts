import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from './paths.js';

/** File name of the library of CUDA kernels. */
export const CUDA_KERNELS = 'libgradcache_cuda.so';

/**
 * The library of CUDA kernels: the one compiled here, else the prebuilt one; null where there is neither. It serves every
 * libtorch minor, and is opened only beside a libtorch with CUDA. The package brings it for linux-x64 alone.
 *
 * @param root folder of the package
 */
export function findCudaKernels(root: string = packageRoot()): string | null {
  const places = ['build-cuda', join('prebuilds', 'cuda', `linux-${process.arch}`)];
  return places.map((folder) => join(root, folder, CUDA_KERNELS)).find((path) => existsSync(path)) ?? null;
}
