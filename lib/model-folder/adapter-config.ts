import { isNumber, type Bounds } from '../options/option-values.js';
import { refusedIn } from '../files/file-fault.js';
import { all, keptKeys, only, requireKeys, table, type KeptKeys } from '../files/key-table.js';
import { isJsonObject } from '../files/strict-json.js';
import { patternProblem } from '../options/patterns.js';

/** Low-rank adapters of a model's linear layers (LoRA, Hu et al. 2021), as adapter_config.json of PEFT has them. */
export interface AdapterConfig {
  /** Rows of A and columns of B, for layers that `rankPattern` does not name. */
  readonly rank: number;
  /** What an adapter adds is multiplied by alpha / rank, or with `rankStabilized` by alpha / sqrt(rank). */
  readonly alpha: number;
  readonly dropout: number;
  readonly rankStabilized: boolean;
  /** The layers: ends of their names, a regular expression of whole names, or `'all-linear'`. */
  readonly targets: string | readonly string[];
  readonly excluded: string | readonly string[];
  /** The numbers of the only layers; null: all. */
  readonly layers: readonly number[] | null;
  /** What stands before such a number in a name; none: anything. */
  readonly layersPattern: readonly string[];
  readonly rankPattern: Readonly<Record<string, number>>;
  readonly alphaPattern: Readonly<Record<string, number>>;
  /** Ends of names of modules that are trained as a whole. */
  readonly modulesToSave: readonly string[];
  /** Which biases are trained. */
  readonly bias: 'none' | 'all' | 'lora_only';
}

const PLAIN = 'Only plain LoRA is supported.';
const ADAPTER_KEYS = table({
  ...all('read', 'r lora_alpha lora_dropout use_rslora target_modules exclude_modules layers_to_transform'),
  ...all('read', 'layers_pattern rank_pattern alpha_pattern modules_to_save bias base_model_name_or_path'),
  ...all('kept', 'auto_mapping inference_mode task_type peft_version revision fan_in_fan_out megatron_core'),
  ...all('kept', 'loftq_config eva_config corda_config lora_ga_config qalora_group_size'),
  peft_type: only('Adapters of other kinds are not supported.', 'LORA'),
  use_dora: only(
    'DoRA is not supported: transformers and sentence-transformers lose its magnitudes when they open the folder.',
    false,
    null,
  ),
  init_lora_weights: only(
    'Its base model was changed when the adapter began: save it with path_initial_model_for_weight_conversion.',
    true,
    false,
    null,
    'gaussian',
    'orthogonal',
    'eva',
  ),
  trainable_token_indices: only('Rows of an embedding as an adapter are not supported.', null),
  target_parameters: only('Adapters of bare parameters are not supported.', null, []),
  layer_replication: only(PLAIN, null),
  lora_bias: only(PLAIN, false, null),
  use_qalora: only(PLAIN, false, null),
  ensure_weight_tying: only(PLAIN, false, null),
  ...Object.fromEntries(
    'megatron_config arrow_config kasa_config velora_config monteclora_config use_bdlora alora_invocation_tokens'
      .split(' ')
      .map((key) => [key, only(PLAIN, null)]),
  ),
});

/**
 * The content of an adapter_config.json.
 *
 * @throws GradCacheError `CHECKPOINT` naming the file, the key, its value and what would do
 */
export function parseAdapterConfig(path: string, content: KeptKeys): AdapterConfig {
  requireKeys(path, content, ADAPTER_KEYS);
  const number = (key: string, otherwise: number, bounds: Bounds): number => {
    const value = content[key] ?? otherwise;
    if (!isNumber(value, bounds)) throw refusedIn(path, key, value, 'a number that an adapter can have');
    return value;
  };
  const names = (key: string): string | readonly string[] => {
    const value = content[key] ?? [];
    if (typeof value === 'string') {
      const problem = patternProblem(value);
      if (problem !== undefined) throw refusedIn(path, key, value, problem);
      return value;
    }
    if (Array.isArray(value) && value.every((name) => typeof name === 'string')) return value;
    throw refusedIn(path, key, value, 'a list of names, or a regular expression');
  };
  const numbers = (key: string, bounds: Bounds): Readonly<Record<string, number>> => {
    const value = content[key] ?? {};
    if (!isJsonObject(value)) throw refusedIn(path, key, value, 'an object');
    for (const [pattern, each] of Object.entries(value)) {
      const problem = patternProblem(pattern);
      if (problem !== undefined) throw refusedIn(path, `a pattern of ${key}`, pattern, problem);
      if (!isNumber(each, bounds)) throw refusedIn(path, `${key}.${pattern}`, each, 'a number above 0');
    }
    return value as Readonly<Record<string, number>>;
  };
  const bias = content['bias'] ?? 'none';
  if (bias !== 'none' && bias !== 'all' && bias !== 'lora_only')
    throw refusedIn(path, 'bias', bias, '"none", "all" or "lora_only"');
  const { use_rslora: rankStabilized = false } = content;
  if (typeof rankStabilized !== 'boolean')
    throw refusedIn(path, 'use_rslora', rankStabilized, 'true or false');
  return {
    rank: number('r', 8, { from: 1, whole: true }),
    alpha: number('lora_alpha', 8, {}),
    dropout: number('lora_dropout', 0, { from: 0, below: 1 }),
    rankStabilized,
    targets: names('target_modules'),
    excluded: names('exclude_modules'),
    layers: layersIn(path, content['layers_to_transform'] ?? null),
    layersPattern: [names('layers_pattern')].flat(),
    rankPattern: numbers('rank_pattern', { from: 1, whole: true }),
    alphaPattern: numbers('alpha_pattern', {}),
    modulesToSave: [names('modules_to_save')].flat(),
    bias,
  };
}

function layersIn(path: string, value: unknown): readonly number[] | null {
  if (value === null) return null;
  const list: unknown[] = [value].flat();
  if (list.every((layer) => isNumber(layer, { from: 0, whole: true })))
    return list.length === 0 ? null : list;
  throw refusedIn(path, 'layers_to_transform', value, 'a list of numbers of layers');
}

/** The keys of an adapter_config.json that change nothing here. */
export const keptOfAdapter = (content: KeptKeys): KeptKeys => keptKeys(content, ADAPTER_KEYS);

/**
 * The content of an adapter_config.json, with all keys that PEFT of any release needs.
 *
 * @param base `base_model_name_or_path`
 * @param kept keys of the file that the adapter was read from
 */
export function writtenAdapterConfig(
  config: AdapterConfig,
  base: string,
  kept: KeptKeys = {},
): Record<string, unknown> {
  const list = (names: readonly string[]) => (names.length === 0 ? null : names);
  const some = (names: string | readonly string[]) => (typeof names === 'string' ? names : list(names));
  return {
    auto_mapping: null,
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    revision: null,
    task_type: 'FEATURE_EXTRACTION',
    ...kept,
    peft_type: 'LORA',
    base_model_name_or_path: base,
    r: config.rank,
    lora_alpha: config.alpha,
    lora_dropout: config.dropout,
    use_rslora: config.rankStabilized,
    use_dora: false,
    target_modules: some(config.targets),
    exclude_modules: some(config.excluded),
    layers_to_transform: config.layers,
    layers_pattern: list(config.layersPattern),
    rank_pattern: config.rankPattern,
    alpha_pattern: config.alphaPattern,
    modules_to_save: list(config.modulesToSave),
    bias: config.bias,
  };
}
