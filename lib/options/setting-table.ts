import { refuse, type Fields } from './fields.js';
import type { Bounds } from './option-values.js';

/** What every setting of a table says about itself. */
interface Described<T> {
  /** Null for a setting that may be absent, or that the check of its section asks for. */
  readonly default: T;
  /** For the help of the command line. */
  readonly help: string;
  /** A flag beside `--SECTION.NAME`, without its dashes. */
  readonly flag?: string;
}

type NumberSetting<T = number | null> = Described<T> & Bounds & { readonly kind: 'number' };
type NumbersSetting<T = readonly number[] | null> = Described<T> &
  Bounds & {
    readonly kind: 'numbers';
    /** How many there are. Absent: one or more. */
    readonly count?: number;
  };
type SwitchSetting = Described<boolean> & { readonly kind: 'switch' };
type TextSetting<T = string | null> = Described<T> & { readonly kind: 'text' };
type ChoiceSetting<T extends string | null> = Described<T> & {
  readonly kind: 'choice';
  readonly accepted: readonly Exclude<T, null>[];
};
/** A list of different names out of those that are accepted. */
type ChoicesSetting<T extends string> = Described<readonly T[]> & {
  readonly kind: 'choices';
  readonly accepted: readonly T[];
};

/** A setting of any type. */
export type AnySetting =
  | NumberSetting
  | NumbersSetting
  | SwitchSetting
  | TextSetting
  | ChoiceSetting<string | null>
  | ChoicesSetting<string>;

/** A text that may be anything is `string`; one of several names is a union of them. */
type SettingOf<T> = [T] extends [number | null]
  ? NumberSetting<T>
  : [T] extends [boolean]
    ? SwitchSetting
    : [T] extends [string | null]
      ? string extends T
        ? TextSetting<T>
        : ChoiceSetting<T>
      : [T] extends [readonly number[] | null]
        ? NumbersSetting<T>
        : [T] extends [readonly (infer Name extends string)[]]
          ? ChoicesSetting<Name>
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
    case 'text':
      return fields.string(name) ?? setting.default;
    case 'choice':
      return fields.oneOf(name, setting.accepted) ?? setting.default;
    case 'choices':
      return readChoices(fields, name, setting);
  }
}

function readNumbers(fields: Fields, name: string, setting: NumbersSetting): readonly number[] | null {
  const numbers = fields.numbers(name, setting) ?? setting.default;
  if (numbers === null || setting.count === undefined || numbers.length === setting.count) return numbers;
  throw refuse(fields.at(name), numbers, `a list of ${setting.count} numbers`);
}

function readChoices(fields: Fields, name: string, setting: ChoicesSetting<string>): readonly string[] {
  const names = fields.strings(name) ?? setting.default;
  const known = names.every((each) => setting.accepted.includes(each));
  if (known && new Set(names).size === names.length) return names;
  throw refuse(fields.at(name), names, `a list of different ones of ${setting.accepted.join(', ')}`);
}
