import type { EncoderSettings } from '../addon/native.js';
import { GradCacheError } from '../errors.js';
import { show } from '../options/option-values.js';

/** An encoder's settings by the names and types that native/encoders reads them by. */
export class Settings {
  readonly #values: EncoderSettings;

  constructor(values: EncoderSettings) {
    this.#values = values;
  }

  has(name: string): boolean {
    return this.#values[name] !== undefined;
  }

  number(name: string): number {
    const value = this.#values[name];
    return typeof value === 'number' ? value : this.#refuse(name, 'a number');
  }

  text(name: string): string {
    const value = this.#values[name];
    return typeof value === 'string' ? value : this.#refuse(name, 'text');
  }

  truth(name: string): boolean {
    const value = this.#values[name];
    return typeof value === 'boolean' ? value : this.#refuse(name, 'true or false');
  }

  numbers(name: string): readonly number[] {
    const value = this.#values[name];
    return isNumbers(value) ? value : this.#refuse(name, 'a list of numbers');
  }

  list(name: string): readonly Settings[] {
    const value = this.#values[name] ?? [];
    return Array.isArray(value)
      ? (value as readonly EncoderSettings[]).map((each) => new Settings(each))
      : this.#refuse(name, 'a list');
  }

  #refuse(name: string, needed: string): never {
    throw new GradCacheError('INPUT', `the setting ${name} is ${show(this.#values[name])}, not ${needed}`);
  }
}

const isNumbers = (value: unknown): value is readonly number[] =>
  Array.isArray(value) && value.every((each) => typeof each === 'number');
