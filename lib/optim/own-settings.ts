import { refused, requireOneOf } from '../options/option-values.js';
import { requireSeed } from '../options/seeds.js';
import { NativeParameter } from '../tensor/native-parameter.js';
import { RowParameter } from '../tensor/row-parameter.js';
import type { Parameter } from '../tensor/tensor.js';
import type { MasterWeights, SlotOptimizerOptions } from './slot-optimizer-parts.js';
import { isNarrow } from './slots.js';

/** Whether the gradient of a parameter is of rows. */
export const isTable = ({ tensor }: Parameter): boolean => tensor instanceof RowParameter;

/**
 * Checks settings of weights that are kept in bfloat16, and of tables whose gradients are of rows.
 *
 * @param name the optimizer, for messages
 * @throws GradCacheError `INPUT` for settings that do not fit the parameters
 */
export function requireOwnSettings(
  name: string,
  parameters: readonly Parameter[],
  { masterWeights, seed }: Pick<SlotOptimizerOptions, 'masterWeights' | 'seed'>,
): void {
  if (masterWeights !== undefined) requireOneOf(`masterWeights of ${name}`, masterWeights, ['host', 'none']);
  if (seed !== undefined) {
    requireSeed(seed);
    if (masterWeights !== 'none')
      throw refused(
        `seed of ${name}`,
        seed,
        "none unless masterWeights is 'none', which alone rounds by chance,",
      );
  }
  requireMasters(name, parameters.filter(isNarrow), masterWeights);
  const table = parameters.find((parameter) => isTable(parameter) && isNarrow(parameter));
  if (masterWeights === 'host' && table !== undefined)
    throw refused(
      `masterWeights of ${name}`,
      masterWeights,
      `'none' beside gradients of rows (${table.name}), whose state is on the device,`,
    );
}

/** For weights of bfloat16 with wider gradients and no word about them, and for a word about none. */
function requireMasters(
  name: string,
  narrow: readonly Parameter[],
  masterWeights: MasterWeights | undefined,
): void {
  if (masterWeights !== undefined && narrow.length === 0)
    throw refused(
      `masterWeights of ${name}`,
      masterWeights,
      "weights of bfloat16 (weights: 'bfloat16' of an encoder), or none of this setting,",
    );
  const native = narrow.find(({ tensor }) => tensor instanceof NativeParameter);
  if (masterWeights === undefined && native !== undefined)
    throw refused(
      `masterWeights of ${name}`,
      masterWeights,
      `'host' or 'none' for weights that are kept in bfloat16 (${native.name})`,
    );
}
