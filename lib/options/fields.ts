import { GradCacheError } from '../errors.js';
import { nearest } from './nearest.js';
import { choiceOf, describeBounds, isNumber, problemOf, type Bounds } from './option-values.js';

/** A mistake in one setting: where it is, and what is wrong with it. */
export class SettingError extends GradCacheError {
  /**
   * @param path of the setting, as in `config.optimizer.lr`
   * @param problem what follows the path in the message
   */
  constructor(
    readonly path: string,
    readonly problem: string,
  ) {
    super('INPUT', `${path} ${problem}`);
  }
}

/**
 * Reads the fields of one object of a configuration, naming the path of whatever is wrong: `config.optimizer.lr is "1e-3";
 * a finite number above 0 is needed`. `done` refuses fields nobody asked for, so that a misspelt one cannot be
 * silently without effect.
 */
export class Fields {
  readonly #object: Readonly<Record<string, unknown>>;
  readonly #asked = new Set<string>();

  constructor(
    object: unknown,
    readonly path: string,
  ) {
    if (typeof object !== 'object' || object === null || Array.isArray(object)) {
      throw refuse(path, object, 'an object');
    }
    this.#object = object as Record<string, unknown>;
  }

  /** The raw value; null counts as absent, and so does what every object inherits, for a column called `constructor`. */
  raw(name: string): unknown {
    this.#asked.add(name);
    return Object.hasOwn(this.#object, name) ? (this.#object[name] ?? undefined) : undefined;
  }

  /** The names of all fields that the object has. */
  names(): string[] {
    return Object.keys(this.#object);
  }

  at(name: string): string {
    return `${this.path}.${name}`;
  }

  string(name: string): string | undefined {
    const value = this.raw(name);
    if (value === undefined) return undefined;
    if (typeof value !== 'string' || value === '')
      throw refuse(this.at(name), value, 'a string that is not empty');
    return value;
  }

  oneOf<const T extends string>(name: string, accepted: readonly T[]): T | undefined {
    const value = this.raw(name);
    if (value === undefined) return undefined;
    if (!accepted.includes(value as T)) {
      const { needed, hint } = choiceOf(value, accepted);
      throw refuse(this.at(name), value, needed, hint);
    }
    return value as T;
  }

  boolean(name: string): boolean | undefined {
    const value = this.raw(name);
    if (value !== undefined && typeof value !== 'boolean')
      throw refuse(this.at(name), value, 'true or false');
    return value;
  }

  number(name: string, bounds: Bounds): number | undefined {
    const value = this.raw(name);
    return value === undefined ? undefined : checkNumber(this.at(name), value, bounds);
  }

  /** Whole number from 1 up. */
  count(name: string): number | undefined {
    return this.number(name, { from: 1, whole: true });
  }

  /** One string or a list of at least one. */
  strings(name: string): string[] | undefined {
    const value = this.raw(name);
    if (value === undefined) return undefined;
    const list: unknown[] = Array.isArray(value) ? Array.from(value) : [value]; // a hole becomes undefined
    if (list.length === 0 || !list.every((item) => typeof item === 'string' && item !== '')) {
      throw refuse(this.at(name), value, 'a string that is not empty, or a list of such,');
    }
    return list as string[];
  }

  numbers(name: string, bounds: Bounds): number[] | undefined {
    const value = this.raw(name);
    if (value === undefined) return undefined;
    if (!Array.isArray(value) || value.length === 0) throw refuse(this.at(name), value, 'a list of numbers');
    return Array.from(value, (item, index) => checkNumber(`${this.at(name)}[${index}]`, item, bounds));
  }

  /** The fields of an object inside this one. */
  object(name: string): Fields | undefined {
    const value = this.raw(name);
    return value === undefined ? undefined : new Fields(value, this.at(name));
  }

  /** What `read` makes of the object inside this one, which may have no fields but those that it asks for. */
  section<T>(name: string, read: (fields: Fields) => T): T | undefined {
    const fields = this.object(name);
    if (fields === undefined) return undefined;
    const value = read(fields);
    fields.done();
    return value;
  }

  /** Throws for a field that is missing: `fields.count('batch') ?? fields.missing('batch', 'give a size')`. */
  missing(name: string, what: string): never {
    throw new SettingError(this.at(name), `is missing: ${what}.`);
  }

  /** To be called last: throws for fields that no other call asked for. @param of what the settings are those of */
  done(of?: string): void {
    for (const name of Object.keys(this.#object)) {
      if (this.#asked.has(name)) continue;
      const near = nearest(name, this.#asked);
      const hint = near === undefined ? `known are ${[...this.#asked].join(', ')}.` : `did you mean ${near}?`;
      const owner = of === undefined ? '' : ` of ${of}`;
      throw new SettingError(this.at(name), `is not a setting${owner}; ${hint}`);
    }
  }
}

/** The error for a value that a setting does not accept. @param hint what follows the sentence */
export function refuse(path: string, value: unknown, needed: string, hint = ''): SettingError {
  return new SettingError(path, problemOf(value, needed) + hint);
}

function checkNumber(path: string, value: unknown, bounds: Bounds): number {
  if (isNumber(value, bounds)) return value;
  throw refuse(path, value, describeBounds(bounds));
}
