/** A device that libtorch can compute on. */
export interface DeviceReport {
  /** As passed to `device:`, for example `cpu` or `cuda:0`. */
  readonly device: string;
  /** Name of the hardware, where it states one. */
  readonly name: string | null;
  /** Bytes of memory in all and not in use. */
  readonly memory: { readonly total: number; readonly free: number } | null;
}

/** Outcome of a full load in a process of its own. */
export type LoadReport =
  | {
      readonly ok: true;
      readonly milliseconds: number;
      /** The addon that was loaded. */
      readonly addon: string;
      /** Every library of libtorch and of OpenMP that is mapped now. */
      readonly libraries: readonly string[];
      readonly devices: readonly DeviceReport[];
      /** Why there is no CUDA device, where libtorch was built for CUDA but has none. */
      readonly cudaProblem: string | null;
    }
  | { readonly ok: false; readonly code: string; readonly message: string };

/** Marks the line of output that is ours among whatever a library prints. */
export const PROBE_MARK = 'gradcache-load-probe ';
