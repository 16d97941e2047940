import type { GradCacheError } from '../errors.js';
import { refusedIn } from '../files/file-fault.js';
import { anyOf } from '../options/option-values.js';

/** The content of a config.json. */
export type Config = Readonly<Record<string, unknown>>;

/** @throws GradCacheError `CHECKPOINT`, as do all functions here, for a value that is none of the kind */
export function numberIn(config: Config, key: string, otherwise?: number): number {
  const value = config[key];
  if (value === undefined && otherwise !== undefined) return otherwise;
  if (typeof value !== 'number' || !Number.isFinite(value)) throw refusedConfig(key, value, 'a number');
  return value;
}

export function fractionIn(config: Config, key: string, otherwise: number): number {
  const value = numberIn(config, key, otherwise);
  if (value >= 0 && value <= 0.99999) return value;
  throw refusedConfig(key, value, 'a number from 0 to 0.99999');
}

export function countIn(config: Config, key: string, otherwise?: number): number {
  const value = numberIn(config, key, otherwise);
  if (Number.isSafeInteger(value) && value >= 1 && value <= 2 ** 31 - 1) return value;
  throw refusedConfig(key, value, 'a positive integer');
}

export function truthIn(config: Config, key: string, otherwise: boolean): boolean {
  const value = config[key] ?? otherwise;
  if (typeof value === 'boolean') return value;
  throw refusedConfig(key, value, 'true or false');
}

export function oneIn(config: Config, key: string, names: readonly string[], otherwise: string): string {
  const value = config[key] ?? otherwise;
  if (typeof value === 'string' && names.includes(value)) return value;
  throw refusedConfig(key, value, anyOf(names));
}

/** The native name of an activation, by transformers' name. */
const ACTIVATIONS: Readonly<Record<string, string>> = {
  gelu: 'gelu',
  gelu_new: 'gelu_tanh',
  gelu_pytorch_tanh: 'gelu_tanh',
  relu: 'relu',
  silu: 'silu',
  swish: 'silu',
};

export function activationIn(config: Config, key: string, otherwise = 'gelu'): string {
  const name = config[key] ?? otherwise;
  if (typeof name === 'string' && Object.hasOwn(ACTIVATIONS, name)) return ACTIVATIONS[name]!;
  throw refusedConfig(key, name, `a name of ${Object.keys(ACTIVATIONS).join(', ')}`);
}

/** The padding token's id; `otherwise` where there is no key, -1 (none) for null where null is allowed. */
export function paddingIn(config: Config, otherwise: number, allowed: { readonly null: boolean }): number {
  const value = config['pad_token_id'] === undefined ? otherwise : config['pad_token_id'];
  if (value === null && allowed.null) return -1;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw refusedConfig('pad_token_id', value, "a token's number");
}

export function refusedConfig(key: string, value: unknown, needed: string): GradCacheError {
  return refusedIn('config.json', key, value, needed);
}
