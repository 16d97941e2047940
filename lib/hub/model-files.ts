import { isJsonObject } from '../files/strict-json.js';
import type { Listing } from './hub-listing.js';

/** The folder of a model of pictures in that of the text model that it was trained with. */
export const IMAGE_MODEL = 'image_model';

/** Reads a file of a repository, which is fetched where it is not there. */
export type ReadListed = (path: string) => Promise<string>;

/** Configuration and tokenizer, in the folder of a model or of one of its modules, and its card, which names its licence. */
const SMALL = [
  /^[\w-]*(config|modules)[\w-]*\.json$/,
  /^(tokenizer|special_tokens_map|added_tokens|vocab|mapping)\.json$/,
  /^(vocab\.txt|merges\.txt|bpe\.codes)$/,
  /^(sentencepiece\.bpe|sentencepiece|spiece|spm|tokenizer)\.model$/,
  /^artifact\.metadata$/, // settings of Stanford's ColBERT
  /^README\.md$/,
];
const WEIGHTS = /^(model|adapter_model)\.safetensors$/;
const SHARDS = /^model(-\d+-of-\d+\.safetensors|\.safetensors\.index\.json)$/;
/** Read only where there is nothing else. */
const PICKLED = /^(pytorch_model(-\d+-of-\d+)?\.bin|pytorch_model\.bin\.index\.json|adapter_model\.bin)$/;

/**
 * The files of a repository that a model is loaded from: in its folder and those of its modules and of a
 * model of pictures, and not the same weights in
 * other formats (onnx/, openvino/, .bin beside .safetensors).
 */
export async function modelFiles(listing: Listing, read: ReadListed): Promise<string[]> {
  const folders = [
    '',
    ...(listing.has('modules.json') ? modulePaths(await read('modules.json')) : []),
    ...(listing.has(`${IMAGE_MODEL}/config.json`) ? [IMAGE_MODEL] : []),
  ];
  const chosen = new Set<string>();
  for (const folder of folders) {
    const begin = folder === '' ? '' : `${folder}/`;
    const inside = [...listing.keys()].filter((path) => path.startsWith(begin));
    // A module such as a router has folders of its own.
    const names = inside.filter((path) => folder !== '' || !path.includes('/'));
    for (const path of needed(names)) chosen.add(path);
  }
  return [...chosen];
}

/** Of files in some folders, those that are read. */
function needed(paths: readonly string[]): string[] {
  const name = (path: string): string => path.slice(path.lastIndexOf('/') + 1);
  const folderOf = (path: string): string => path.slice(0, path.lastIndexOf('/') + 1);
  const whole = new Set(paths.filter((path) => WEIGHTS.test(name(path))).map(folderOf));
  const sharded = new Set(paths.filter((path) => SHARDS.test(name(path))).map(folderOf));
  return paths.filter((path) => {
    const folder = folderOf(path);
    if (SMALL.some((pattern) => pattern.test(name(path)))) return true;
    if (WEIGHTS.test(name(path))) return true;
    if (SHARDS.test(name(path))) return !whole.has(folder);
    return PICKLED.test(name(path)) && !whole.has(folder) && !sharded.has(folder);
  });
}

/** The folders that modules.json names. A fault in it is told by who reads the model. */
function modulePaths(text: string): string[] {
  let entries: unknown;
  try {
    entries = JSON.parse(text);
  } catch {
    return [];
  }
  if (!Array.isArray(entries)) return [];
  const paths = entries.map((entry) => (isJsonObject(entry) ? entry['path'] : undefined));
  return paths.filter((path): path is string => typeof path === 'string' && path !== '');
}
