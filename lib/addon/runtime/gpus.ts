import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { askProgram } from './ask-program.js';

/** A GPU as the NVIDIA driver reports it. */
export interface GpuReport {
  readonly name: string;
  /** Version of the driver, such as `580.95.05`. */
  readonly driver: string;
  /** Compute capability, such as `9.0`; null where only the driver's own files could be read. */
  readonly capability: string | null;
  /** Bytes of memory in all, and not in use now; null where only the driver's own files could be read. */
  readonly memory: { readonly total: number; readonly free: number } | null;
}

/** Where the driver's kernel module tells about itself. */
export const DRIVER_FOLDER = '/proc/driver/nvidia';

/** Version of the NVIDIA driver that is loaded, or null where there is none. */
export function driverVersion(folder = DRIVER_FOLDER): string | null {
  const text = textOf(join(folder, 'version'));
  return text === '' ? null : (/ (\d+(?:\.\d+)+) /.exec(text)?.[1] ?? '');
}

/** The content of a file; empty if it is not there or may not be read. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** The GPUs of this machine in the driver's order, whether or not libtorch can use them, without any CUDA library. */
export function findGpus(environment: NodeJS.ProcessEnv, folder = DRIVER_FOLDER): GpuReport[] {
  const fields = 'name,driver_version,compute_cap,memory.total,memory.free';
  const query = [`--query-gpu=${fields}`, '--format=csv,noheader,nounits'];
  const answer = askProgram('nvidia-smi', query, environment);
  if (answer.status !== 0) return gpusOfDriver(folder);
  return answer.stdout
    .trim()
    .split('\n')
    .map((line) => line.split(', '))
    .map(([name = '', driver = '', capability, total, free]) => ({
      name,
      driver,
      capability: capability ?? null,
      memory: { total: Number(total) * 2 ** 20, free: Number(free) * 2 ** 20 },
    }));
}

/** Containers often come without nvidia-smi; the driver's files tell a little. */
function gpusOfDriver(folder: string): GpuReport[] {
  const driver = driverVersion(folder);
  const cards = join(folder, 'gpus');
  if (driver === null || !existsSync(cards)) return [];
  return readdirSync(cards)
    .sort()
    .map((card) => {
      const name = /^Model:\s*(.+)$/m.exec(textOf(join(cards, card, 'information')))?.[1] ?? card;
      return { name, driver, capability: null, memory: null };
    });
}
