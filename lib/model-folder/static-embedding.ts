import { join } from 'node:path';
import { faultIn, refusedIn } from '../files/file-fault.js';
import { readJsonObject } from '../files/json-file.js';
import { replaceFile } from '../files/replace-file.js';
import { isJsonObject } from '../files/strict-json.js';
import { refused } from '../options/option-values.js';
import { writeSafetensors, type StoredTensor } from '../safetensors/safetensors.js';
import { toStored } from '../safetensors/stored-tensor.js';
import { noGrad } from '../tensor/autograd.js';
import { tidy } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';
import { Tokenizer } from '../tokenizer/tokenizer.js';
import { readWeights } from './model-weights.js';
import type { Pooling } from './pooling.js';
import type { Transformer } from './transformer-folder.js';

/** The name of the word vectors in StaticEmbedding of sentence-transformers, and of the parameter here. */
const VECTORS = 'embedding.weight';
/** Their name in Model2Vec. */
const ROWS = 'embeddings';

/** How a folder of word vectors is laid out, so that it is saved as it came. */
export interface StaticLayout {
  /** Where the vectors and the tokenizer lie in the folder; empty: in the folder itself. */
  readonly place: string;
  /** config.json of Model2Vec; null for a folder of sentence-transformers alone. */
  readonly model2vec: Readonly<Record<string, unknown>> | null;
}

/** config.json of a Model2Vec folder; null for any other folder. */
export async function readModel2Vec(folder: string): Promise<StaticLayout['model2vec']> {
  const config = await readJsonObject(join(folder, 'config.json'));
  return config?.model_type === 'model2vec' ? config : null;
}

/**
 * Reads word vectors and their tokenizer, in the layout of StaticEmbedding or of Model2Vec. As in sentence-transformers,
 * tokenizer.json is taken as it stands, no token is put around a text, and the mapping and the weights of Model2Vec become part
 * of the vectors.
 *
 * @param folder where they lie
 * @throws GradCacheError `CHECKPOINT`
 */
export async function readStaticEmbedding(folder: string): Promise<Transformer> {
  const path = join(folder, 'model.safetensors');
  const stored = await readWeights(folder);
  const vectors = stored.get(VECTORS) ?? (await folded(path, stored));
  const [rows, width] = vectors.shape;
  if (vectors.shape.length !== 2 || rows === 0 || width === 0)
    throw faultIn(
      path,
      `its word vectors have shape [${vectors.shape.join()}]; [words, dimension] is needed`,
    );
  const tokenizer = await Tokenizer.fromFile(join(folder, 'tokenizer.json'), { specialTokens: false });
  return {
    config: { model_type: 'static', vocab_size: rows, hidden_size: width },
    modelType: 'static',
    tensors: new Map([[VECTORS, vectors]]),
    maxLength: statedLength(folder, tokenizer),
    tokenizer,
  };
}

/** One row for each token: its row of the embeddings times its weight. */
async function folded(path: string, stored: ReadonlyMap<string, StoredTensor>): Promise<StoredTensor> {
  const { [ROWS]: rows, mapping, weights, ...others } = Object.fromEntries(stored);
  if (rows === undefined || Object.keys(others).length > 0)
    throw faultIn(
      path,
      `its tensors are ${[...stored.keys()].join(', ') || 'none'}; needed are ${VECTORS}, or ${ROWS} with or without ` +
        'mapping and weights',
    );
  const [words] = (mapping ?? rows).shape;
  const fits = rows.shape.length === 2 && (mapping?.shape.length ?? 1) === 1;
  if (!fits || (weights !== undefined && weights.shape.join() !== String(words)))
    throw faultIn(
      path,
      `${Object.entries({ embeddings: rows, mapping, weights })
        .flatMap(([name, tensor]) => (tensor === undefined ? [] : [`${name} [${tensor.shape.join()}]`]))
        .join(', ')} do not belong together`,
    );
  if (mapping !== undefined) requireRows(path, mapping, rows.shape[0]!);
  const tensor = ({ bytes, shape, dtype }: StoredTensor) => Tensor.fromBytes(bytes, { shape, dtype });
  const table = tidy(() =>
    noGrad(() => {
      const all = tensor(rows).to({ dtype: 'float32' });
      const placed = mapping === undefined ? all : all.indexSelect(0, tensor(mapping).to({ dtype: 'int64' }));
      if (weights === undefined) return placed;
      return placed.mul(tensor(weights).to({ dtype: 'float32' }).reshape([-1, 1]));
    }),
  );
  try {
    return await toStored(table);
  } finally {
    table.dispose();
  }
}

function requireRows(path: string, { dtype, bytes }: StoredTensor, rows: number): void {
  const { buffer, byteOffset, byteLength } = bytes;
  const numbers =
    dtype === 'int64'
      ? new BigInt64Array(buffer.slice(byteOffset, byteOffset + byteLength))
      : dtype === 'int32'
        ? new Int32Array(buffer.slice(byteOffset, byteOffset + byteLength))
        : null;
  if (numbers === null) throw refusedIn(path, 'the type of mapping', dtype, 'int64 or int32');
  for (const number of numbers)
    if (number < 0 || number >= rows)
      throw faultIn(path, `its mapping names row ${number} of ${rows} rows of embeddings`);
}

/** sentence-transformers leaves the length limit of tokenizer.json in force, which is most often none. */
function statedLength(folder: string, { json }: Tokenizer): number {
  const { truncation } = JSON.parse(json) as Record<string, unknown>;
  if (!isJsonObject(truncation)) return MOST_TOKENS;
  const { max_length: length } = truncation;
  if (typeof length === 'number' && Number.isSafeInteger(length) && length >= 1)
    return Math.min(length, MOST_TOKENS);
  throw refusedIn(
    join(folder, 'tokenizer.json'),
    'max_length of truncation',
    length,
    'a whole number from 1',
  );
}

/**
 * Word vectors are read again by StaticEmbedding, which puts no token around a text and takes the mean.
 *
 * @throws GradCacheError `INPUT` for a model whose texts would be read otherwise then
 */
export function requireBare({
  tokenizer: { settings },
  pooling,
}: Pick<Transformer, 'tokenizer'> & { readonly pooling: Pooling }): void {
  if (settings.specialTokens !== false)
    throw refused('specialTokens of the tokenizer', settings.specialTokens, 'false, for word vectors,');
  if (pooling !== 'mean') throw refused('pooling', pooling, "'mean', for word vectors,");
}

/** As many tokens as a text can have: word vectors know no positions. */
export const MOST_TOKENS = 2 ** 30;

/** Writes word vectors and their tokenizer into a folder, and config.json of Model2Vec where they came with one. */
export async function writeStaticEmbedding(
  folder: string,
  { tensors, tokenizer }: Pick<Transformer, 'tensors' | 'tokenizer'>,
  { model2vec }: StaticLayout,
): Promise<void> {
  const vectors = tensors.get(VECTORS)!;
  const name = model2vec === null ? VECTORS : ROWS;
  await writeSafetensors(join(folder, 'model.safetensors'), new Map([[name, vectors]]));
  for (const [file, bytes] of tokenizer.companions)
    await replaceFile(join(folder, file), (handle) => handle.writeFile(bytes));
  await replaceFile(join(folder, 'tokenizer.json'), (handle) => handle.writeFile(tokenizer.json));
  if (model2vec === null) return;
  const { vocabulary_quantization: _, ...config } = model2vec; // the mapping is part of the vectors now
  const stated = { ...config, embedding_dtype: vectors.dtype };
  await replaceFile(join(folder, 'config.json'), (handle) =>
    handle.writeFile(`${JSON.stringify(stated, null, 2)}\n`),
  );
}
