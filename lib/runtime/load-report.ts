/** Outcome of a full load in a process of its own. */
export type LoadReport =
  | {
      readonly ok: true;
      readonly milliseconds: number;
      /** The addon that was loaded. */
      readonly addon: string;
      /** Every library of libtorch and of OpenMP that is mapped now. */
      readonly libraries: readonly string[];
      /** What libtorch can compute on, as passed to `device:`; for example `cpu` and `cuda:0`. */
      readonly devices: readonly string[];
    }
  | { readonly ok: false; readonly code: string; readonly message: string };

/** Marks the line of output that is ours among whatever a library prints. */
export const PROBE_MARK = 'gradcache-load-probe ';
