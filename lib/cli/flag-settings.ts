/*
 * Flags that set fields of a configuration, and the way back: from a mistake in a field to the flag that made it.
 */
import { GradCacheError } from '../errors.js';
import type { SettingError } from '../options/fields.js';
import { isPlainObject } from '../options/realms.js';
import { UsageError, type Arguments, type Flag, type Flags } from './flags.js';

/** Flags that exclude each other, and the settings that one of them takes out of the configuration file. */
export interface Rivals {
  readonly flags: readonly string[];
  readonly replaces?: readonly string[];
}

/** All flags of some sections. */
export function allFlags(sections: Readonly<Record<string, Flags>>): [string, Flag][] {
  return Object.values(sections).flatMap((section) => Object.entries(section));
}

/** Takes what the given flags replace out of `merged`. @throws UsageError for two that exclude each other */
export function refuseRivals(
  rivals: readonly Rivals[],
  args: Arguments,
  merged: Record<string, unknown>,
): void {
  for (const { flags, replaces = [] } of rivals) {
    const given = flags.filter((name) => args.get(name) !== undefined);
    if (given.length > 1)
      throw new UsageError(
        `${given.map((name) => args.typed(name)).join(' and ')} exclude each other: give one of them.`,
      );
    if (given.length > 0) for (const name of replaces) delete merged[name];
  }
}

/** @throws UsageError for a setting that is given by two flags */
export function refuseTwice(flags: readonly [string, Flag][], args: Arguments): void {
  const given = flags.filter(([name]) => args.get(name) !== undefined);
  for (const [name, { sets, hidden }] of given) {
    const [other] = given.find((flag) => flag[0] !== name && flag[1].sets === sets) ?? [];
    if (hidden === true && sets !== undefined && other !== undefined)
      throw new UsageError(`--${other} and --${name} are the same setting: give one of them.`);
  }
}

/** Puts the flags that were given over a configuration. */
export function putFlags(
  flags: readonly [string, Flag][],
  args: Arguments,
  merged: Record<string, unknown>,
): void {
  for (const [name, { sets }] of flags) {
    const value = args.get(name);
    if (value !== undefined && sets !== undefined) put(merged, sets.split('.'), value);
  }
}

/** Sets a field, by its path. */
export function put(object: Record<string, unknown>, path: readonly string[], value: unknown): void {
  const [first, ...rest] = path as [string, ...string[]];
  if (rest.length === 0) {
    object[first] = value;
    return;
  }
  // A name such as `constructor` is in every object; it is the name of a set as any other.
  if (!Object.hasOwn(object, first)) object[first] = {};
  object[first] ??= {};
  const inner = object[first];
  // Where the configuration file has something else, the reader of settings refuses it.
  if (isPlainObject(inner)) put(inner, rest, value);
}

/** Whether a run goes on from a checkpoint. */
export function isResumed({ resume }: Readonly<Record<string, unknown>>): boolean {
  return resume !== undefined && resume !== null && resume !== false;
}

/**
 * The flag that sets a setting and the least beside it.
 *
 * @param groups flags with what they set; the first group that has one decides, and in it the first of two alike
 */
export function narrowest(
  setting: string,
  groups: readonly (readonly (readonly [flag: string, sets: string])[])[],
): string | undefined {
  for (const flags of groups) {
    const fitting = flags.filter(([, sets]) => sets === setting || setting.startsWith(`${sets}.`));
    const [best] = fitting.sort(([, a], [, b]) => b.length - a.length);
    if (best !== undefined) return best[0];
  }
  // A mistake in a section as a whole is told by the first flag that set something in it.
  const inside = groups[0]?.filter(([, sets]) => sets.startsWith(`${setting}.`)).at(-1);
  if (inside !== undefined) return inside[0];
  return undefined;
}

/**
 * A mistake in a setting, told where the user made it: in a flag, or in the configuration file.
 *
 * @param flag that sets it, if any
 * @param element of a list, or what else follows the flag
 * @param given.file the configuration file, if any; without one every setting comes from a flag
 */
export function toldByFlag(
  error: SettingError,
  flag: string | undefined,
  element: string,
  { args, file }: { readonly args: Arguments; readonly file: string | undefined },
): GradCacheError {
  if (flag !== undefined) return new UsageError(`${args.typed(flag)}${element} ${error.problem}`);
  return file === undefined
    ? new UsageError(error.message)
    : new GradCacheError('INPUT', `${file}: ${error.message}`, { cause: error });
}

/** The path of a setting without `config`, and the element of a list that it ends in: a flag gives a list as a whole. */
export function settingOf({ path }: SettingError): [setting: string, element: string] {
  const [whole, element = ''] = path.replace(/^config\.?/, '').split(/(?=\[\d+\]$)/) as [string, string?];
  return [whole, element];
}
