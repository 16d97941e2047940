import { readFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { isSystemError } from '../files/file-error.js';
import { fromSentencePiece, type WholeTokenizer } from './from-sentencepiece.js';
import { parseTokenizerFiles, readCompanions } from './tokenizer-files.js';
import { unusable } from './tokenizer-refusal.js';
import { classIn, type TokenizerSettings } from './tokenizer-settings.js';

/**
 * Reads a tokenizer.json and the files beside it. Where it is missing, it is made of the model of sentencepiece beside it.
 *
 * @throws GradCacheError `CHECKPOINT`, naming the file, where it is missing or cannot be read
 */
export async function readTokenizer(path: string, settings: TokenizerSettings): Promise<WholeTokenizer> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    const whole = isMissing(error) && (await besideMissing(path, settings));
    if (whole) return whole;
    throw unusable(path, error);
  }
  let json: string;
  try {
    json = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw unusable(path, error);
  }
  return { json, companions: await readCompanions(dirname(path)) };
}

const isMissing = (error: unknown): boolean => isSystemError(error) && error.code === 'ENOENT';

async function besideMissing(path: string, settings: TokenizerSettings): Promise<WholeTokenizer | undefined> {
  if (basename(path) !== 'tokenizer.json' || settings.specialTokens === false) return undefined;
  let companions: ReadonlyMap<string, Uint8Array>;
  try {
    companions = await readCompanions(dirname(path));
  } catch (error) {
    if (isMissing((error as Error).cause)) return undefined; // the whole folder is missing
    throw error;
  }
  try {
    return fromSentencePiece(companions, classIn(parseTokenizerFiles(companions), settings));
  } catch (error) {
    throw unusable(dirname(path), error);
  }
}
