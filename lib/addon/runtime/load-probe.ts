// The program that `doctor` runs in a child process: loads everything for real and prints what happened as one line of JSON.
// If a library crashes while it is opened, it is this process that ends, and doctor says so.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { GradCacheError } from '../../errors.js';
import { isError, reasonOf } from '../../options/realms.js';
import { findCudaKernels } from './cuda-kernels.js';
import { chooseBuild, type LoadedAddon, loadAddon, openLibraries } from './load.js';
import { type DeviceTrouble, type KernelsReport, type LoadReport, PROBE_MARK } from './load-report.js';

/** What the probe needs of the addon; lib/addon/native.ts types the rest. */
interface ProbedAddon {
  devices(): string[];
  openCudaKernels(path: string, libtorchCuda: string): void;
  tensorFromBytes(bytes: Uint8Array, shape: readonly number[], dtype: string, device: string): unknown;
}

function probe(libtorch: string | undefined): LoadReport {
  try {
    const start = performance.now();
    const loaded = loadAddon({ libtorch });
    const milliseconds = performance.now() - start;
    const kernels = openKernels(loaded);
    const libraries = mappedLibraries();
    const devices = (loaded.addon as ProbedAddon).devices();
    const unusable = tryDevices(loaded, devices);
    return { ok: true, milliseconds, addon: loaded.addonPath, libraries, kernels, devices, unusable };
  } catch (error) {
    return { ok: false, ...asProblem(error) };
  }
}

function openKernels({ addon, libtorch }: LoadedAddon): KernelsReport {
  const path = findCudaKernels();
  if (path === null) return { path, error: null };
  const error = openLibraries(chooseBuild(libtorch).boot, [path])?.error ?? null;
  if (error !== null || !libtorch.cuda) return { path, error };
  try {
    (addon as ProbedAddon).openCudaKernels(path, join(libtorch.folder, 'lib', 'libtorch_cuda.so'));
    return { path, error: null };
  } catch (thrown) {
    return { path, error: asProblem(thrown).message };
  }
}

/** Makes a tensor on every GPU, which is what shows whether it is free and fit for the kernels. */
function tryDevices({ addon, libtorch }: LoadedAddon, devices: readonly string[]): DeviceTrouble[] {
  if (!libtorch.cuda) return [];
  const named = devices.filter((device) => device.startsWith('cuda'));
  return (named.length > 0 ? named : ['cuda']).flatMap((device) => {
    try {
      (addon as ProbedAddon).tensorFromBytes(new Uint8Array(16), [16], 'uint8', device);
      return [];
    } catch (error) {
      return [{ device, ...asProblem(error) }];
    }
  });
}

/** Errors of the addon itself are plain ones with a code; only lib/addon/native.ts makes them GradCacheErrors. */
function asProblem(error: unknown): { code: string; message: string } {
  if (!isError(error)) return { code: 'LIBTORCH_LOAD', message: reasonOf(error) };
  const { code } = error as { code?: unknown };
  const ours = error instanceof GradCacheError || (typeof code === 'string' && !code.startsWith('ERR_'));
  return { code: ours ? String(code) : 'LIBTORCH_LOAD', message: error.message };
}

function mappedLibraries(): string[] {
  const paths = readFileSync('/proc/self/maps', 'utf8').match(
    /\/\S*\/lib(c10|torch|gomp|iomp|omp)[^/\s]*\.so[^/\s]*$/gm,
  );
  return [...new Set(paths)].sort();
}

console.log(PROBE_MARK + JSON.stringify(probe(process.argv[2])));
