import { mkdir, realpath } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { readJsonObject } from '../files/json-file.js';
import { replaceFolder } from '../files/replace-folder.js';
import { writeJson } from '../files/write-json.js';
import { writeCrossEncoderInto, type CrossEncoderFolder } from '../model-folder/cross-encoder-folder.js';
import { poolingsOf } from '../model-folder/pooling.js';
import { belongsToModel, FLOATS, writeModelInto } from '../model-folder/write-model-folder.js';
import type { ModelSource } from './model-source.js';

/** The folder of graphs, where transformers.js and sentence-transformers look for them. */
export const GRAPHS = 'onnx';

/** Keys that a file of the folder gets besides its own. */
type Additions = Readonly<Record<'config.json' | 'tokenizer_config.json', Readonly<Record<string, unknown>>>>;

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
    recognise: (names) =>
      ['config.json', 'modules.json', 'adapter_config.json'].some((each) => names.includes(each)),
    belongs: (name) => name === GRAPHS || (isOwn ? written.has(name) : belongsToModel(name)),
    async write(folder) {
      await mkdir(join(folder, GRAPHS));
      const additions = additionsFor(source, await write(join(folder, GRAPHS)));
      if (!isOwn) await writeFiles(folder, source);
      for (const [name, keys] of Object.entries(additions)) {
        if (Object.keys(keys).length === 0) continue;
        const before = (await readJsonObject(join(isOwn ? path : folder, name))) ?? {};
        await writeJson(join(folder, name), { ...before, ...keys }, FLOATS);
        written.add(name);
      }
    },
  });
}

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

/** What transformers.js reads of the files. */
function additionsFor({ folder }: ModelSource, withSideFile: readonly string[]): Additions {
  const sideFiles = Object.fromEntries(withSideFile.map((name) => [name, true]));
  return {
    'config.json': {
      // A folder of word vectors has no configuration of transformers.
      ...(folder.layout && !folder.layout.model2vec && folder.config),
      ...(withSideFile.length > 0 && { 'transformers.js_config': { use_external_data_format: sideFiles } }),
    },
    // It takes the last column where the last token is wanted.
    'tokenizer_config.json': poolingsOf(folder.pooling).includes('last') ? { padding_side: 'left' } : {},
  };
}
