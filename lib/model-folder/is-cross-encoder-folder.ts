import { join } from 'node:path';
import { readJsonFile } from '../files/json-file.js';
import { isJsonObject } from '../files/strict-json.js';
import { statedKind } from './sentence-config.js';
import { readModuleEntries } from './sentence-modules.js';

/**
 * Whether a folder is that of a cross-encoder: its own files say so, or without modules.json config.json names a model for
 * sequence classification.
 *
 * @throws GradCacheError `CHECKPOINT` for damaged files
 */
export async function isCrossEncoderFolder(path: string): Promise<boolean> {
  if ((await readModuleEntries(path)) !== undefined) return (await statedKind(path)) === 'CrossEncoder';
  const config = await readJsonFile(join(path, 'config.json'));
  const { architectures } = isJsonObject(config) ? config : {};
  return Array.isArray(architectures) && /ForSequenceClassification$/.test(String(architectures[0]));
}
