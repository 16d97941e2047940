import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Ranks } from '../distributed/ranks.js';
import { fromFirst, onFirst } from '../distributed/shared-work.js';
import { GradCacheError } from '../errors.js';
import { ifAbsent, onFiles } from '../files/file-error.js';
import { makeFolders } from '../files/make-folders.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireString } from '../options/option-values.js';
import { fromStored, toStored } from '../safetensors/stored-tensor.js';
import { readSafetensors, writeSafetensors } from '../safetensors/safetensors.js';
import { callAsync } from '../tensor/operators.js';
import type { Tensor } from '../tensor/tensor.js';
import type { EncodesTexts } from './encode-texts.js';
import { requireEncoder } from './retrieval-checks.js';

/** Settings of {@link cachedEncoder}. */
export interface CachedEncoderOptions {
  /** Where the representations are kept; made where it is not there. */
  readonly folder: string;
  /** Which model it is, for instance its name and version: representations of another are not taken. */
  readonly model: string;
  /** Where representations that are read are put. Default: `'cpu'`. It should be the encoder's own device. */
  readonly device?: string;
}

/** Texts whose representations are in one file. */
const PIECE = 8192;

/**
 * An encoder that keeps on disk what it has encoded. Texts that it is given again, in the same blocks, are read and not
 * encoded, also by a later process: a search that was stopped goes on where it was, and one with other settings costs little.
 *
 * Each file holds the representations of 8192 texts, or as many as were given at once. Its name is a digest of the model,
 * the prompt and the texts, so nothing in the folder is ever wrong; it may be deleted at any time. A file is written whole.
 *
 * @throws GradCacheError `INPUT` for wrong options; the encoder's methods throw `INPUT` where the folder cannot be written,
 * and `CHECKPOINT` for a damaged file in it
 * @example
 * ```ts
 * const cached = cachedEncoder(model, { folder: '.cache', model: 'runs/a/model' });
 * await evaluateRetrieval(cached, await readRetrievalPairs('held-out.jsonl')); // the second time encodes nothing
 * ```
 */
export function cachedEncoder(encoder: EncodesTexts, options: CachedEncoderOptions): EncodesTexts {
  return cachedOverRanks(encoder, options, null);
}

/** {@link cachedEncoder} of ranks that make the same calls in the same order and see one file system. Rank 0 writes. */
export function cachedOverRanks(
  encoder: EncodesTexts,
  options: CachedEncoderOptions,
  ranks: Ranks | null,
): EncodesTexts {
  checkKnown('cachedEncoder', options, ['folder', 'model', 'device']);
  requireEncoder(encoder);
  const { sparse, perToken } = encoder as { readonly sparse?: boolean; readonly perToken?: boolean };
  for (const [name, value] of Object.entries({ sparse, perToken }))
    if (value === true)
      throw refused(`encoder.${name}`, value, 'a model with one dense representation a text');
  const { folder, model, device = 'cpu' } = options;
  requireString('folder', folder);
  requireString('model', model);
  requireString('device', device);
  const { prompts, similarity, search } = encoder;
  const cached =
    (method: 'encode' | 'encodeQuery' | 'encodeDocument'): EncodesTexts['encode'] =>
    async (texts, how = {}) => {
      const { prompt, dimensions } = how;
      const about = JSON.stringify([model, method, prompt, prompts, dimensions]);
      const pieces: Tensor[] = [];
      try {
        for (let begin = 0; begin < Math.max(1, texts.length); begin += PIECE) {
          const some = texts.slice(begin, begin + PIECE);
          const path = join(folder, `${digestOf(about, some)}.safetensors`);
          const known = await fromFirst(ranks, 'looking for representations', () =>
            onFiles('INPUT', path, 'read', () => stat(path).then(() => true, ifAbsent(false))),
          );
          pieces.push(known ? await readRows(path, some.length, device) : await encode(some, path));
        }
        return pieces.length === 1 ? pieces.pop()! : await callAsync('aten::cat', pieces, 0);
      } finally {
        for (const piece of pieces) piece.dispose();
      }

      async function encode(some: readonly string[], path: string): Promise<Tensor> {
        const rows = await (encoder[method] ?? encoder.encode).call(encoder, some, how);
        try {
          await onFirst(ranks, 'keeping representations', async () => {
            await onFiles('INPUT', folder, 'written', () => makeFolders(folder));
            await writeSafetensors(path, [['embeddings', await toStored(rows)]]);
          });
          return rows;
        } catch (error) {
          rows.dispose();
          throw error;
        }
      }
    };
  return {
    encode: cached('encode'),
    encodeQuery: cached('encodeQuery'),
    encodeDocument: cached('encodeDocument'),
    ...(prompts && { prompts }),
    ...(similarity !== undefined && { similarity }),
    ...(search && { search }),
  };
}

function digestOf(about: string, texts: readonly string[]): string {
  const hash = createHash('sha256').update(about);
  // The length before each text, so that no two lists are written the same way.
  for (const text of texts) hash.update(`\n${text.length}:`).update(text, 'utf16le');
  return hash.digest('hex');
}

async function readRows(path: string, texts: number, device: string): Promise<Tensor> {
  const stored = (await readSafetensors(path)).get('embeddings');
  if (stored?.shape.length === 2 && stored.shape[0] === texts) return fromStored(stored, device);
  throw new GradCacheError(
    'CHECKPOINT',
    `${path} does not hold the representations of ${texts} texts. Remove it: they are then encoded again.`,
  );
}
