import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { GradCacheError } from '../errors.js';
import { faultIn, refusedIn } from '../files/file-fault.js';
import { readJsonObject } from '../files/json-file.js';
import type { KeptKeys } from '../files/key-table.js';
import { writeJson } from '../files/write-json.js';
import { isRepositoryName, writtenName } from '../hub/hub-name.js';
import { folderOfModel } from '../hub/pull.js';
import { show } from '../options/option-values.js';
import { readSafetensors, writeSafetensors, type StoredTensor } from '../safetensors/safetensors.js';
import {
  keptOfAdapter,
  parseAdapterConfig,
  writtenAdapterConfig,
  type AdapterConfig,
} from './adapter-config.js';

const CONFIG = 'adapter_config.json';
const WEIGHTS = 'adapter_model.safetensors';
/** Before the name of a module, in the names of PEFT's tensors. */
const PREFIX = 'base_model.model.';

/** What adapts a model: a folder of PEFT, or an adapter that is new. */
export interface Adapter {
  readonly config: AdapterConfig;
  /** The folder of the base model's transformer. */
  readonly base: string;
  /** What a saved folder states as `base_model_name_or_path`. */
  readonly baseName: string;
  /**
   * By the names of the model's modules: `MODULE.lora_A.weight`, `MODULE.lora_B.weight`, and what else of the model is
   * trained. Empty for an adapter that is new.
   */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** The other keys of adapter_config.json. */
  readonly kept: KeptKeys;
}

/** Whether a file of this name belongs to an adapter. */
export const isOfAdapter = (name: string): boolean =>
  /^adapter_(config\.json|model\.(safetensors|bin))$/.test(name);

/**
 * Reads a folder that PEFT or sentence-transformers wrote for an adapter, without its base model.
 *
 * @param baseModel the folder of the base model; undefined: where the file says
 * @returns undefined for a folder without adapter_config.json
 * @throws GradCacheError `CHECKPOINT` for what cannot be honoured exactly, and where the base model is not found
 */
export async function readAdapter(folder: string, baseModel?: string): Promise<Adapter | undefined> {
  const path = join(folder, CONFIG);
  const content = await readJsonObject(path);
  if (content === undefined) return undefined;
  const config = parseAdapterConfig(path, content);
  const { base_model_name_or_path: stated, revision } = content;
  if (typeof stated !== 'string' || stated === '')
    throw refusedIn(path, 'base_model_name_or_path', stated, 'the folder of a model');
  if (revision !== undefined && revision !== null && typeof revision !== 'string')
    throw refusedIn(path, 'revision', revision, 'a string');
  const here = baseModel ?? (await baseIn(folder, stated));
  const base = here ?? (await fromHub(path, stated, revision ?? undefined));
  if ((await readJsonObject(join(base, CONFIG))) !== undefined)
    throw faultIn(path, `its base model ${base} is an adapter itself: merge that and save the model`);
  const tensors = new Map<string, StoredTensor>();
  for (const [name, tensor] of await readSafetensors(join(folder, WEIGHTS)))
    tensors.set(moduleName(join(folder, WEIGHTS), name), tensor);
  return {
    config,
    base,
    baseName: baseModel === undefined && here !== undefined ? base : stated,
    tensors,
    kept: keptOfAdapter(content),
  };
}

/** The folder of a base model: as Python finds it, from where the program runs, or else from the adapter's folder. */
async function baseIn(folder: string, stated: string): Promise<string | undefined> {
  for (const path of [resolve(stated), resolve(folder, stated)])
    if ((await stat(path).catch(() => null))?.isDirectory() === true) return path;
  return undefined;
}

/** A base model that is no folder is one of the hub, as in Python. */
async function fromHub(path: string, stated: string, revision: string | undefined): Promise<string> {
  if (!isRepositoryName(stated))
    throw refusedIn(
      path,
      'base_model_name_or_path',
      stated,
      'a folder, owner/name on the hub, or the option baseModel with the path of the model,',
    );
  const name = writtenName({ kind: 'model', name: stated, revision: revision ?? 'main' });
  return folderOfModel(`base_model_name_or_path of ${path}`, name);
}

/** @throws GradCacheError `INPUT` for an adapter whose base model others do not have: a folder of this machine */
export async function requireSharedBase(folder: string): Promise<void> {
  const { base_model_name_or_path: stated } = (await readJsonObject(join(folder, CONFIG))) ?? {};
  if (stated === undefined || (typeof stated === 'string' && isRepositoryName(stated))) return;
  throw new GradCacheError(
    'INPUT',
    `${folder} holds adapters of ${show(stated)}, which is no model of the hub. Load the base model as hf:owner/name before it ` +
      'is adapted, or push what merge() gives.',
  );
}

function moduleName(path: string, name: string): string {
  if (!name.startsWith(PREFIX)) throw faultIn(path, `its tensor ${name} does not begin with ${PREFIX}`);
  const own = name.slice(PREFIX.length);
  const unknown = /\.lora_(?!(A|B)\.weight$)\w+/.exec(own);
  if (unknown !== null)
    throw faultIn(
      path,
      `its tensor ${name} is of a kind that is not supported; adapters of linear layers are`,
    );
  return own.replace(/\.base_layer(?=\.(weight|bias)$)/, '');
}

/** Writes adapter_config.json and adapter_model.safetensors. */
export async function writeAdapter(folder: string, adapter: Adapter): Promise<void> {
  const adapted = new Set(
    [...adapter.tensors.keys()].flatMap((name) => /^(.*)\.lora_A\.weight$/.exec(name)?.[1] ?? []),
  );
  // PEFT wraps an adapted layer: its bias is that of the layer inside.
  const written = (name: string) => {
    const [, module, part] = /^(.*)\.(bias)$/.exec(name) ?? [];
    return module !== undefined && adapted.has(module)
      ? `${PREFIX}${module}.base_layer.${part}`
      : PREFIX + name;
  };
  await writeJson(join(folder, CONFIG), writtenAdapterConfig(adapter.config, adapter.baseName, adapter.kept));
  const tensors = Array.from(adapter.tensors, ([name, tensor]) => [written(name), tensor] as const);
  await writeSafetensors(join(folder, WEIGHTS), tensors, { format: 'pt' });
}
