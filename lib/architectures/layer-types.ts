import { show } from '../options/option-values.js';
import { refusedConfig, type Config } from './config-values.js';

/** Whether a layer attends to the whole text or to a window. */
export type LayerType = 'full_attention' | 'sliding_attention';

/**
 * `layer_types` of config.json, and where there are none the pattern that earlier versions state by other keys.
 *
 * @throws GradCacheError `CHECKPOINT` for a list of another length or with another kind
 */
export function layerTypesIn(
  config: Config,
  layers: number,
  pattern: (layer: number) => LayerType,
): LayerType[] {
  const stated = config['layer_types'] ?? null;
  if (stated === null) return Array.from({ length: layers }, (_, layer) => pattern(layer));
  const isType = (value: unknown): value is LayerType =>
    value === 'full_attention' || value === 'sliding_attention';
  if (Array.isArray(stated) && stated.length === layers && stated.every(isType)) return stated;
  const unknown = Array.isArray(stated) ? (stated as unknown[]).find((type) => !isType(type)) : stated;
  throw refusedConfig(
    'layer_types',
    unknown ?? stated,
    `a list of ${layers} of ${show('full_attention')} and ${show('sliding_attention')}`,
  );
}

/** How far each layer attends to either side; -1: to the whole text. */
export const windowsOf = (types: readonly LayerType[], window: number): number[] =>
  types.map((type) => (type === 'full_attention' ? -1 : window));

/** Which of two tables of angles each layer has: first that of layers that attend to the whole text, then the others'. */
export const rotationOfLayer = (types: readonly LayerType[]): number[] =>
  types.map((type) => (type === 'full_attention' ? 0 : 1));
