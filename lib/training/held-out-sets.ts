/*
 * The held-out data of a run as it is read from a configuration: one set without a name, several with names, or both.
 */
import { HELD_OUT_SETTINGS, type SettingNames } from '../data/setting-names.js';
import type { EvaluationConfig, HeldOutSetConfig } from './evaluation-config.js';

type Filled<Config> = { readonly [Name in keyof Required<Config>]: Config[Name] };

/** One set of held-out data, with everything that a run needs to know. */
export type HeldOutSet = Filled<HeldOutSetConfig>;

/** The held-out data of a run, and when it is measured. */
export type HeldOutSettings = HeldOutSet &
  Filled<Omit<EvaluationConfig, keyof HeldOutSetConfig | 'sets'>> & {
    readonly sets: Readonly<Record<string, HeldOutSet>> | undefined;
  };

/** The settings that name a file of a set. */
export const FILES_OF_SET = ['data', 'documents', 'queries', 'corpus', 'judgements'] as const;

/** A set, and its name where it has one. */
export interface NamedSet {
  readonly name: string | undefined;
  readonly set: HeldOutSet;
}

/** All sets of a run; the one without a name first. It is none where nothing is measured of it. */
export function setsOf(evaluation: HeldOutSettings | undefined): NamedSet[] {
  if (evaluation === undefined) return [];
  const named = Object.entries(evaluation.sets ?? {}).map(([name, set]): NamedSet => ({ name, set }));
  const isMeasured = evaluation.task !== undefined || evaluation.loss === true;
  return [...(isMeasured ? [{ name: undefined, set: evaluation }] : []), ...named];
}

/** The same settings with other sets. */
export function changeSets(
  evaluation: HeldOutSettings,
  change: (set: HeldOutSet) => Partial<HeldOutSet>,
): HeldOutSettings {
  const sets =
    evaluation.sets &&
    Object.fromEntries(
      Object.entries(evaluation.sets).map(([name, set]) => [name, { ...set, ...change(set) }]),
    );
  return { ...evaluation, ...change(evaluation), sets };
}

/** The files of a set, with another path for each. */
export function changeFiles(
  set: HeldOutSet,
  change: (path: string) => string | undefined,
): Partial<HeldOutSet> {
  const named = FILES_OF_SET.filter((name) => set[name] !== undefined);
  return Object.fromEntries(named.map((name) => [name, change(set[name]!)]));
}

/** Where a set stands in a configuration: `evaluation`, or `evaluation.sets.NAME`. */
export function placeOf(name: string | undefined): string {
  return name === undefined ? 'evaluation' : `evaluation.sets.${name}`;
}

/** What a score of a set is called in the run. */
export function scoreOf(name: string | undefined, score: string): string {
  return name === undefined ? score : `${name}.${score}`;
}

/** What the setting of the column of a set's further documents is called, for messages. */
export function documentSettingsOf(name: string | undefined): SettingNames {
  const flag = name === undefined ? '--eval-document-column' : `--eval-set ${name}.documentColumn=NAME`;
  return { columns: `${placeOf(name)}.documentColumn, ${flag}` };
}

/** What the settings of a set's file are called, for messages. */
export function settingNamesOf(name: string | undefined): Required<SettingNames> {
  if (name === undefined) return HELD_OUT_SETTINGS;
  const both = (setting: string, value: string): string =>
    `${placeOf(name)}.${setting}, --eval-set ${name}.${setting}=${value}`;
  return {
    columns: both('columns', 'A,B'),
    format: both('format', 'FORMAT'),
    header: both('header', 'false'),
    fields: both('header', 'A,B'),
    quoting: both('quoting', 'KIND:'),
  };
}
