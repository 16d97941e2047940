import type { GpuReport } from './gpus.js';
import type { LibtorchFolder } from './libtorch-folder.js';
import type { DeviceTrouble, LoadReport } from './load-report.js';

type Loaded = LoadReport & { ok: true };

/** What stands in the way of computing on a device. */
export interface Machine {
  readonly load: Loaded;
  readonly libtorch: LibtorchFolder;
  readonly gpus: readonly GpuReport[];
  /** Version of the NVIDIA driver, or null. */
  readonly driver: string | null;
}

/**
 * Why the requested device cannot be used and what to do, or null. Without a device (or with `auto`), an unusable GPU is
 * reported too, so that nothing falls back to the CPU silently.
 */
export function deviceTrouble(device: string | undefined, machine: Machine): DeviceTrouble | null {
  const { load, libtorch, gpus, driver } = machine;
  if (load.kernels.error !== null && libtorch.cuda) {
    return { device: 'cuda', code: 'LIBTORCH_LOAD', message: load.kernels.error };
  }
  if (device === undefined || device === 'auto') {
    const first = load.unusable.find(({ device: name }) => name === 'cuda' || name === 'cuda:0') ?? null;
    return first?.device === 'cuda' && gpus.length === 0 && driver === null ? null : first;
  }
  const exact = device === 'cuda' ? 'cuda:0' : device;
  const tried = load.unusable.find(({ device: name }) => name === exact || name === 'cuda');
  if (tried !== undefined && device.startsWith('cuda')) return tried;
  if (load.devices.includes(exact)) return null;
  return { device, code: 'CUDA_UNAVAILABLE', message: missingDevice(device, load, libtorch) };
}

function missingDevice(device: string, load: Loaded, libtorch: LibtorchFolder): string {
  const have = `Device ${device} is not there; there is ${load.devices.join(', ')}.`;
  if (!device.startsWith('cuda') || libtorch.cuda) return have;
  return (
    `${have} libtorch ${libtorch.version} in ${libtorch.folder} is a build without CUDA. To use another: ` +
    'set GRADCACHE_LIBTORCH to a CUDA build, or install one with npx gradcache setup --version <version>+cu130'
  );
}
