import { refuse, type Fields } from './fields.js';
import type { Bounds } from './option-values.js';

/** What every setting of a table says about itself. */
interface Described<T> {
  readonly default: T;
  /** For the help of the command line. */
  readonly help: string;
  /** A flag beside `--SECTION.NAME`, without its dashes. */
  readonly flag?: string;
}

type NumberSetting = Described<number> & Bounds & { readonly kind: 'number' };
type NumbersSetting = Described<readonly number[]> &
  Bounds & {
    readonly kind: 'numbers';
    /** How many there are. */
    readonly count: number;
  };
type SwitchSetting = Described<boolean> & { readonly kind: 'switch' };
type ChoiceSetting<T extends string> = Described<T> & {
  readonly kind: 'choice';
  readonly accepted: readonly T[];
};

/** A setting of any type. */
export type AnySetting = NumberSetting | NumbersSetting | SwitchSetting | ChoiceSetting<string>;

type SettingOf<T> = [T] extends [number]
  ? NumberSetting
  : [T] extends [boolean]
    ? SwitchSetting
    : [T] extends [string]
      ? ChoiceSetting<T>
      : [T] extends [readonly number[]]
        ? NumbersSetting
        : never;

/** The settings of one kind of thing by name: what configuration files and the command line know of them. */
export type SettingTable<S> = { readonly [K in keyof S]: SettingOf<S[K]> };

/**
 * Reads the settings of a table, with their defaults.
 *
 * @throws GradCacheError `INPUT` naming the setting, its value and what would be accepted
 */
export function readSettings<S>(fields: Fields, table: SettingTable<S>): S {
  const entries = Object.entries<AnySetting>(table as Readonly<Record<string, AnySetting>>);
  return Object.fromEntries(entries.map(([name, setting]) => [name, read(fields, name, setting)])) as S;
}

function read(fields: Fields, name: string, setting: AnySetting): unknown {
  switch (setting.kind) {
    case 'number':
      return fields.number(name, setting) ?? setting.default;
    case 'numbers':
      return readNumbers(fields, name, setting);
    case 'switch':
      return fields.boolean(name) ?? setting.default;
    case 'choice':
      return fields.oneOf(name, setting.accepted) ?? setting.default;
  }
}

function readNumbers(fields: Fields, name: string, setting: NumbersSetting): readonly number[] {
  const numbers = fields.numbers(name, setting) ?? setting.default;
  if (numbers.length === setting.count) return numbers;
  throw refuse(fields.at(name), numbers, `a list of ${setting.count} numbers`);
}
