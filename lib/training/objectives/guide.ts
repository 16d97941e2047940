import { TextEncoder } from '../../encoders/text-encoder.js';
import { guideOf } from '../../losses/loss-kinds.js';
import { chooseDevice } from '../../tensor/memory.js';
import type { FilledTrainConfig } from '../read-config.js';

/** Opens the model that judges for the loss of a run, on the run's device; null: none does. */
export async function openGuide(config: FilledTrainConfig): Promise<TextEncoder | null> {
  const folder = guideOf(config.loss);
  if (folder === null) return null;
  const { device, precision } = config;
  return TextEncoder.load(folder, { device: chooseDevice(device), precision });
}
