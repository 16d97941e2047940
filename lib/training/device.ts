import { devices } from '../tensor/memory.js';

/** The device that a name stands for: `'auto'` is the first CUDA device where libtorch can use one, else the CPU. */
export function chooseDevice(name: string): string {
  if (name !== 'auto') return name;
  return devices().find((device) => device.startsWith('cuda')) ?? 'cpu';
}
