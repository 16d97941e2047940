import type { EncoderSettings } from '../addon/native.js';
import { isJsonObject } from '../files/strict-json.js';
import { anyOf } from '../options/option-values.js';
import { numberIn, refusedConfig, truthIn, type Config } from './config-values.js';

/** Which rotary position embedding config.json is asked for. */
export interface Rotary {
  /** The base of the angles where no record states `rope_theta`. */
  readonly theta: number;
  /** The features of a head. */
  readonly size: number;
  /** The kind of layer that it is for, where kinds have their own; absent: all layers have the same. */
  readonly layerType?: string;
  /** Whether `rope_scaling`, the key of earlier versions, is for it; default: yes. */
  readonly scaled?: boolean;
}

const LAYER_TYPES = ['full_attention', 'sliding_attention'];
const KINDS: Readonly<Record<string, (values: Config, config: Config) => EncoderSettings>> = {
  default: () => ({}),
  linear: (values) => ({ factor: factorIn(values) }),
  ntk: (values) => ({ factor: factorIn(values) }),
  llama3: (values, config) => ({
    factor: factorIn(values),
    low: numberIn(values, 'low_freq_factor'),
    high: numberIn(values, 'high_freq_factor'),
    original: originalIn(values, config),
  }),
  yarn: (values, config) => ({
    factor: factorIn(values),
    fast: numberIn(given(values), 'beta_fast', 32),
    slow: numberIn(given(values), 'beta_slow', 1),
    original: originalIn(values, config),
    whole: truthIn(values, 'truncate', true),
    attention: attentionIn(values),
  }),
};

/**
 * A rotary position embedding as native/blocks/rotary_table reads it, from either form of config.json: `rope_parameters`
 * of transformers 5, which may have a record for each kind of layer, or `rope_scaling` beside a base.
 *
 * @throws GradCacheError `CHECKPOINT` naming a kind that is not supported, or what it lacks
 */
export function rotaryIn(config: Config, { theta, size, layerType, scaled = true }: Rotary): EncoderSettings {
  const { key, values } = recordIn(config, layerType, scaled);
  const kind = values['rope_type'] ?? values['type'] ?? 'default';
  if (typeof kind !== 'string' || !Object.hasOwn(KINDS, kind))
    throw refusedConfig(`rope_type of ${key}`, kind, anyOf(Object.keys(KINDS)));
  const part = numberIn(
    given(values),
    'partial_rotary_factor',
    numberIn(given(config), 'partial_rotary_factor', 1),
  );
  return {
    kind,
    theta: numberIn(given(values), 'rope_theta', theta),
    features: Math.trunc(size * part),
    ...KINDS[kind]!(values, config),
  };
}

function recordIn(
  config: Config,
  layerType: string | undefined,
  scaled: boolean,
): { key: string; values: Config } {
  const all = config['rope_parameters'] ?? null;
  const earlier = config['rope_scaling'] ?? null;
  if (all === null && (earlier === null || !scaled)) return { key: 'rope_parameters', values: {} };
  const key = all === null ? 'rope_scaling' : 'rope_parameters';
  const record = all ?? earlier;
  if (!isJsonObject(record)) throw refusedConfig(key, record, 'an object');
  const byLayer = LAYER_TYPES.some((type) => isJsonObject(record[type]));
  if (layerType === undefined || !byLayer) {
    if (byLayer) throw refusedConfig(key, record, 'a record for all layers');
    return { key, values: record };
  }
  const own = record[layerType] ?? {};
  if (!isJsonObject(own)) throw refusedConfig(`${layerType} of ${key}`, own, 'an object');
  return { key, values: own };
}

/** Without the keys that are null, which says the same as their absence. */
const given = (config: Config): Config =>
  Object.fromEntries(Object.entries(config).filter(([, value]) => value !== null));

function factorIn(values: Config): number {
  const factor = numberIn(values, 'factor');
  if (factor >= 1) return factor;
  throw refusedConfig('factor', factor, 'a number from 1');
}

const originalIn = (values: Config, config: Config): number =>
  (values['original_max_position_embeddings'] ?? null) === null
    ? numberIn(config, 'max_position_embeddings')
    : numberIn(values, 'original_max_position_embeddings');

/** By how much YaRN scales cosines and sines (Peng et al. 2023, 3.4), as transformers reads it. */
function attentionIn(values: Config): number {
  const stated = given(values);
  if (stated['attention_factor'] !== undefined) return numberIn(stated, 'attention_factor');
  const factor = factorIn(values);
  const scale = (by: number): number => (factor <= 1 ? 1 : 0.1 * by * Math.log(factor) + 1);
  const [one, all] = [numberIn(stated, 'mscale', 0), numberIn(stated, 'mscale_all_dim', 0)];
  return one !== 0 && all !== 0 ? scale(one) / scale(all) : scale(1);
}
