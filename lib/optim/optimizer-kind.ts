import type { Ranks } from '../distributed/ranks.js';
import type { SettingTable } from '../options/setting-table.js';
import type { Parameter } from '../tensor/tensor.js';
import type { Optimizer } from './optimizer.js';
import type { MasterWeights } from './slot-optimizer-parts.js';

/** How an optimizer updates weights that are kept in bfloat16. */
export interface NarrowUpdates {
  readonly masterWeights: MasterWeights;
  /** Of the rounding by chance, with masterWeights 'none' alone. */
  readonly seed?: number;
}

/** One optimizer as configuration files and the command line know it; optimizer-kinds.ts lists them. */
export interface OptimizerKind<S extends { readonly lr: number }> {
  /** For the help of the command line. */
  readonly about: string;
  readonly settings: SettingTable<S>;
  /**
   * @param ranks the ranks over which the state is divided, or null
   * @param narrow how weights of bfloat16 are updated; null: there are none
   */
  readonly make: (
    parameters: readonly Parameter[],
    settings: S,
    ranks: Ranks | null,
    narrow: NarrowUpdates | null,
  ) => Optimizer;
}
