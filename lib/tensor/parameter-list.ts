import { refused } from '../options/option-values.js';
import { Tensor, type Parameter } from './tensor.js';

/** @throws GradCacheError `INPUT` for what is no list of parameters, as `parameters()` of a class of the caller's may return */
export function requireParameterList(name: string, value: unknown): Parameter[] {
  if (Array.isArray(value) && value.every(isParameter)) return value;
  throw refused(name, value, 'a list of { name, tensor, decay }');
}

export function isParameter(value: unknown): value is Parameter {
  const { name, tensor, decay } = (value ?? {}) as Partial<Parameter>;
  return typeof name === 'string' && tensor instanceof Tensor && typeof decay === 'boolean';
}
