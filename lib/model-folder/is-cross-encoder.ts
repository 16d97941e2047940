import { join } from 'node:path';
import { readJsonObject } from '../files/json-file.js';
import { statedKind } from './sentence-config.js';

/** Whether a folder holds a cross-encoder: it says so itself, or it is one of transformers with a head for classification. */
export async function isCrossEncoder(folder: string): Promise<boolean> {
  const stated = await statedKind(folder);
  if (typeof stated === 'string') return stated === 'CrossEncoder';
  const { architectures } = (await readJsonObject(join(folder, 'config.json'))) ?? {};
  const first: unknown = Array.isArray(architectures) ? architectures[0] : undefined;
  return typeof first === 'string' && first.endsWith('ForSequenceClassification');
}
