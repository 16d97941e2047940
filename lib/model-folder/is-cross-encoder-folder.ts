import { join } from 'node:path';
import { isThere } from '../files/file-error.js';
import { readJsonObject } from '../files/json-file.js';
import { statedKind } from './sentence-config.js';

/**
 * Whether a folder holds a cross-encoder and not an encoder of texts: its own files say so, or it has no modules.json and its
 * config.json names a model for sequence classification.
 *
 * @throws GradCacheError `CHECKPOINT` for damaged files
 */
export async function isCrossEncoderFolder(path: string): Promise<boolean> {
  const stated = await statedKind(path);
  if (typeof stated === 'string') return stated === 'CrossEncoder';
  if (await isThere(join(path, 'modules.json'))) return false;
  const { architectures } = (await readJsonObject(join(path, 'config.json'))) ?? {};
  return Array.isArray(architectures) && /ForSequenceClassification$/.test(String(architectures[0]));
}
