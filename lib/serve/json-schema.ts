import { nearest } from '../options/nearest.js';
import { isJsonObject } from '../files/strict-json.js';
import { anyOf, describeBounds, problemOf } from '../options/option-values.js';

/**
 * The part of JSON Schema that the bodies of requests need. One and the same schema stands in the OpenAPI document and checks
 * what comes, so that the two cannot differ.
 */
export interface Schema {
  readonly type?: 'string' | 'number' | 'integer' | 'boolean' | 'array' | 'object';
  /** What is needed, in the words of a refusal. */
  readonly title?: string;
  readonly description?: string;
  readonly enum?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly items?: Schema;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  /** Always false, which refuses a misspelt property, but for objects of answers. */
  readonly additionalProperties?: false;
  readonly anyOf?: readonly Schema[];
  readonly default?: unknown;
}

/** What is wrong with a value: where, and what follows that in a message. */
export interface Problem {
  /** `input[3]`; empty for the value itself. */
  readonly path: string;
  readonly message: string;
  /** Items that were good before it. */
  readonly good: number;
}

/** What is wrong with a value, or undefined where nothing is. */
export function problemIn(value: unknown, schema: Schema, path = ''): Problem | undefined {
  if (schema.anyOf !== undefined) return problemInAny(value, schema, schema.anyOf, path);
  if (hasType(value, schema)) {
    if (schema.type === 'array') return problemInList(value as unknown[], schema, path);
    if (schema.type === 'object') return problemInObject(value as Record<string, unknown>, schema, path);
    return undefined;
  }
  return { path, message: problemOf(value, neededBy(schema)), good: 0 };
}

function hasType(value: unknown, schema: Schema): boolean {
  switch (schema.type) {
    case 'string':
      return typeof value === 'string' && (schema.enum?.includes(value) ?? true);
    case 'boolean':
      return typeof value === 'boolean';
    case 'number':
    case 'integer':
      return isNumberOf(value, schema);
    case 'array':
      return Array.isArray(value);
    case 'object':
      return isJsonObject(value);
    case undefined:
      return true;
  }
}

function isNumberOf(value: unknown, { type, minimum = -Infinity, maximum = Infinity }: Schema): boolean {
  if (typeof value !== 'number' || value < minimum || value > maximum) return false;
  return type === 'number' || Number.isInteger(value);
}

function problemInList(
  list: readonly unknown[],
  { items, minItems = 0, maxItems = Infinity }: Schema,
  path: string,
): Problem | undefined {
  let good = 0;
  for (const [index, item] of list.entries()) {
    const problem = items && problemIn(item, items, `${path}[${index}]`);
    if (problem !== undefined) return { ...problem, good: good + problem.good };
    good++;
  }
  if (list.length >= minItems && list.length <= maxItems) return undefined;
  const most = maxItems === Infinity ? ' or more' : ` to ${maxItems}`;
  return { path, message: `has ${list.length} items; ${minItems}${most} are needed.`, good };
}

function problemInObject(
  object: Readonly<Record<string, unknown>>,
  { properties = {}, required = [], additionalProperties }: Schema,
  path: string,
): Problem | undefined {
  const refuse = (name: string, message: string): Problem => ({
    path: path === '' ? name : `${path}.${name}`,
    message,
    good: 0,
  });
  const unknown = Object.keys(object).find((name) => !Object.hasOwn(properties, name));
  if (unknown !== undefined && additionalProperties === false) {
    const near = nearest(unknown, Object.keys(properties));
    const known = `known are ${Object.keys(properties).join(', ')}.`;
    return refuse(unknown, `is not known here; ${near === undefined ? known : `did you mean ${near}?`}`);
  }
  const missing = required.find((name) => !Object.hasOwn(object, name));
  if (missing !== undefined)
    return refuse(missing, `is missing; ${neededBy(properties[missing] ?? {})} is needed.`);
  for (const [name, schema] of Object.entries(properties)) {
    if (!Object.hasOwn(object, name)) continue;
    const problem = problemIn(object[name], schema, path === '' ? name : `${path}.${name}`);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/** The problem with the option that fits best: a list with one wrong text is taken for a list of texts. */
function problemInAny(
  value: unknown,
  schema: Schema,
  options: readonly Schema[],
  path: string,
): Problem | undefined {
  let best: Problem | undefined;
  for (const option of options) {
    const problem = problemIn(value, option, path);
    if (problem === undefined) return undefined;
    const isEmpty = Array.isArray(value) && value.length === 0 && option.type === 'array';
    if (problem.good > (best?.good ?? 0) || (isEmpty && best === undefined)) best = problem;
  }
  return best ?? { path, message: problemOf(value, neededBy(schema)), good: 0 };
}

/** What a schema takes, in words. */
function neededBy(schema: Schema): string {
  if (schema.title !== undefined) return schema.title;
  if (schema.enum !== undefined) return anyOf(schema.enum);
  const { type, minimum, maximum } = schema;
  if (type === 'integer' || type === 'number')
    return describeBounds({ from: minimum, to: maximum, whole: type === 'integer' });
  const words = { string: 'a string', boolean: 'true or false', array: 'a list', object: 'an object' };
  return type === undefined ? 'a value' : words[type];
}
