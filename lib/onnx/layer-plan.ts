import type { Builder } from './builder.js';
import { rotation, type Rotation } from './rotary.js';
import type { Settings } from './settings.js';

/** How far each layer sees, and how it turns heads. */
export interface LayerPlan {
  readonly window: number;
  readonly rotary: Rotation;
}

/** A plan for each layer, from the settings windows, rotations and rotationOfLayer. */
export function layerPlans(builder: Builder, settings: Settings): LayerPlan[] {
  const rotations = settings.list('rotations').map((each) => rotation(builder, each));
  const chosen = settings.numbers('rotationOfLayer');
  return settings.numbers('windows').map((window, layer) => ({ window, rotary: rotations[chosen[layer]!]! }));
}
