import { memory, resetPeakMemory, synchronize } from '../tensor/memory.js';
import type { StepResult } from './gradcache-options.js';

type Phase = 'forward' | 'loss' | 'backward';

/** Measures the time of a step's phases and the memory of its device. */
export class StepMeter {
  readonly #device: string;
  readonly #before: number;
  readonly #milliseconds = { forward: 0, loss: 0, backward: 0 };
  #last = 0;

  constructor(device: string) {
    this.#device = device;
    resetPeakMemory(device);
    this.#before = memory(device).allocated;
  }

  start(): void {
    this.#last = performance.now();
  }

  /** Waits until the device has finished the phase's work, and ends the phase. The time since the last end is the phase's. */
  async end(phase: Phase): Promise<void> {
    await synchronize(this.#device);
    const now = performance.now();
    this.#milliseconds[phase] += now - this.#last;
    this.#last = now;
  }

  get milliseconds(): StepResult['milliseconds'] {
    const { forward, loss, backward } = this.#milliseconds;
    return { forward, loss, backward, total: forward + loss + backward };
  }

  /** Bytes in use before the step, and the peak since then. */
  memory(): { readonly before: number; readonly peak: number } {
    return { before: this.#before, peak: memory(this.#device).peak };
  }
}
