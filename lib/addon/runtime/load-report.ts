/** A device that libtorch names, or was asked for, and that cannot be used. */
export interface DeviceTrouble {
  readonly device: string;
  /** An error code of the package. */
  readonly code: string;
  /** What was found, and what would help. */
  readonly message: string;
}

/** The library of CUDA kernels. */
export interface KernelsReport {
  /** Where it lies, or null where there is none. */
  readonly path: string | null;
  /** Why it does not open, or null where it does (or there is none). */
  readonly error: string | null;
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
      readonly kernels: KernelsReport;
      /** What libtorch can compute on, as passed to `device:`; for example `cpu` and `cuda:0`. */
      readonly devices: readonly string[];
      /** Those of them on which a tensor could not be made; `cuda` where a CUDA build of libtorch sees no GPU at all. */
      readonly unusable: readonly DeviceTrouble[];
    }
  | { readonly ok: false; readonly code: string; readonly message: string };

/** Marks the line of output that is ours among whatever a library prints. */
export const PROBE_MARK = 'gradcache-load-probe ';
