import { checkKnown } from '../options/known-options.js';
import { requireNumber, requireOneOf } from '../options/option-values.js';
import { requireDevice } from '../tensor/tensor-data.js';
import { TOWER_PRECISIONS, type TowerOptions } from './tower-weights.js';

/**
 * @param more names of further options, which the caller checks
 * @throws GradCacheError `INPUT` naming the option
 */
export function checkTowerOptions(what: string, options: TowerOptions, more: readonly string[] = []): void {
  checkKnown(what, options, ['device', 'precision', 'dropout', ...more]);
  const { device, precision, dropout } = options;
  if (device !== undefined) requireDevice('device', device);
  if (precision !== undefined) requireOneOf('precision', precision, TOWER_PRECISIONS);
  if (dropout !== undefined) requireNumber('dropout', dropout, { from: 0, to: 0.99999 });
}
