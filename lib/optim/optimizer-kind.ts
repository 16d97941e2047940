import type { Ranks } from '../distributed/ranks.js';
import type { SettingTable } from '../options/setting-table.js';
import type { Parameter } from '../tensor/tensor.js';
import type { Optimizer } from './optimizer.js';

/** One optimizer as configuration files and the command line know it; optimizer-kinds.ts lists them. */
export interface OptimizerKind<S extends { readonly lr: number }> {
  /** For the help of the command line. */
  readonly about: string;
  readonly settings: SettingTable<S>;
  /** @param ranks the ranks over which the state is divided, or null */
  readonly make: (parameters: readonly Parameter[], settings: S, ranks: Ranks | null) => Optimizer;
}
