import { mkdir, realpath } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { readJsonObject } from '../files/json-file.js';
import { replaceFolder } from '../files/replace-folder.js';
import { writeJson } from '../files/write-json.js';
import { writeCrossEncoderInto, type CrossEncoderFolder } from '../model-folder/cross-encoder-folder.js';
import { poolingsOf } from '../model-folder/pooling.js';
import { belongsToModel, FLOATS, writeModelInto } from '../model-folder/write-model-folder.js';
import { tokenizerConfigToSave } from '../tokenizer/tokenizer-config.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import type { ModelSource } from './model-source.js';

/** The folder of graphs, where transformers.js and sentence-transformers look for them. */
export const GRAPHS = 'onnx';

/**
 * Replaces a folder by one that serves a model from graphs: the files of the model without its weights, and `onnx/`. Of the
 * model's own folder only `onnx/` is replaced, and what the graphs need said.
 *
 * @param from the model's folder
 * @param write fills the folder of graphs; gives the names of those whose weights are in a side file
 * @throws GradCacheError `INPUT` where `path` is a file or a folder without a model
 */
export async function replaceOnnxFolder(
  path: string,
  from: string,
  source: ModelSource,
  write: (graphs: string) => Promise<readonly string[]>,
): Promise<void> {
  const isOwn = await isSame(path, from);
  const written = new Set<string>();
  await replaceFolder(path, {
    recognise: (names) => KNOWN.some((each) => names.includes(each)),
    belongs: (name) => name === GRAPHS || (isOwn ? written.has(name) : belongsToModel(name)),
    async write(folder) {
      await mkdir(join(folder, GRAPHS));
      const withSideFile = await write(join(folder, GRAPHS));
      if (!isOwn) await writeFiles(folder, source);
      const home = isOwn ? path : folder;
      for (const [name, change] of Object.entries(changesFor(source, withSideFile))) {
        const before = await readJsonObject(join(home, name));
        const after = change(before);
        if (isDeepStrictEqual(before, after)) continue;
        await writeJson(join(folder, name), after, FLOATS);
        written.add(name);
      }
    },
  });
}

/** Entries that a folder of a model is known by. */
const KNOWN = ['config.json', 'modules.json', 'adapter_config.json'];

async function isSame(one: string, other: string): Promise<boolean> {
  const [first, second] = await Promise.all(
    [one, other].map((each) => realpath(each).catch(() => resolve(each))),
  );
  return first === second;
}

function writeFiles(folder: string, { kind, folder: model }: ModelSource): Promise<void> {
  if (kind === 'scores') return writeCrossEncoderInto(folder, model as CrossEncoderFolder);
  // transformers.js looks for the tokenizer in the folder itself.
  const layout = model.layout ? { ...model.layout, place: '' } : null;
  return writeModelInto(folder, { ...model, layout });
}

type Json = Readonly<Record<string, unknown>>;
/** What becomes of a file that transformers.js reads; undefined: there is none. */
type Change = (before: Json | undefined) => Json | undefined;

/** So that transformers.js serves the folder too: it knows no modules, and reads settings where others need none. */
function changesFor(
  { folder }: ModelSource,
  withSideFile: readonly string[],
): Readonly<Record<string, Change>> {
  const { layout, config, pooling, tokenizer, maxLength } = folder;
  const sideFiles = Object.fromEntries(withSideFile.map((name) => [name, true]));
  return {
    'config.json': (before) => ({
      // A folder of word vectors has no configuration of transformers.
      ...(layout && !layout.model2vec && config),
      ...before,
      ...(withSideFile.length > 0 && { 'transformers.js_config': { use_external_data_format: sideFiles } }),
    }),
    'tokenizer_config.json': (before = tokenizerConfigToSave(tokenizer, maxLength)) => ({
      ...before,
      // It pads with this token, or with eos_token.
      ...(!('pad_token' in (before ?? {}) || 'eos_token' in (before ?? {})) && {
        pad_token: anyToken(tokenizer),
      }),
      // It takes the last column where the last token is wanted.
      ...(poolingsOf(pooling).includes('last') && { padding_side: 'left' }),
    }),
    // Word vectors are of a text's own tokens alone; it would put others around them.
    'tokenizer.json': (before) =>
      layout && before?.post_processor ? { ...before, post_processor: null } : before,
  };
}

/** A token to fill texts up with, which no graph looks at. */
function anyToken(tokenizer: Tokenizer): string | undefined {
  const usual = ['[PAD]', '<pad>', '[UNK]', '<unk>'].find((token) => tokenizer.tokenToId(token) !== null);
  return usual ?? tokenizer.addedTokens[0]?.content;
}
