import { LAYER_WEIGHTINGS } from '../losses/adaptive-layer.js';
import { refuse, type Fields } from '../options/fields.js';

/** Reads which layers a run trains besides the last. @throws GradCacheError `INPUT` */
export function readAdaptiveLayer(fields: Fields) {
  const layers = readLayers(fields);
  return {
    layers,
    layersPerStep: fields.count('layersPerStep'),
    lastLayerWeight: fields.number('lastLayerWeight', { from: 0 }),
    priorLayersWeight: fields.number('priorLayersWeight', { from: 0 }),
    klWeight: fields.number('klWeight', { from: 0 }),
    klTemperature: fields.number('klTemperature', { from: 0 }),
    layerWeighting: fields.oneOf('layerWeighting', LAYER_WEIGHTINGS),
  };
}

function readLayers(fields: Fields): 'all' | readonly number[] {
  const given = fields.raw('layers');
  if (given === undefined || given === 'all') return 'all';
  if (!Array.isArray(given)) throw refuse(fields.at('layers'), given, '"all" or a list of numbers of layers');
  const layers = fields.numbers('layers', { from: 0, whole: true }) ?? [];
  if (new Set(layers).size < layers.length)
    throw refuse(fields.at('layers'), layers, 'a list of different layers');
  return layers;
}
