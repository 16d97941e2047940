import { isDeepStrictEqual } from 'node:util';
import { GradCacheError } from '../errors.js';
import { SettingError } from '../options/fields.js';
import { show } from '../options/option-values.js';

type Settings = Readonly<Record<string, unknown>>;

/** What the settings of a kind of run are, for one that is resumed. */
export interface ResumableSettings<Config> {
  /** Checks settings and fills them in. @throws GradCacheError `INPUT` */
  readonly read: (given: Settings, path?: string) => Config;
  /** Settings that are objects: given fields override the stored ones. */
  readonly sections: readonly string[];
  /** Sections with a kind that decides their other settings. */
  readonly kinds: Readonly<Record<string, KindOfSection>>;
  /** What a setting of a section is given where it is given nothing; it leaves what is stored. */
  readonly nothing?: unknown;
  /** Settings of sections that are given up where another one is given, which takes their place. */
  readonly replaced?: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;
  /** Settings of sections that say more of another one: what is stored of them is given up where that one is turned off. */
  readonly details?: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;
  /** Whether a resumed run may have another value of a setting. */
  readonly mayChange: (name: string, now: unknown, was: unknown) => boolean;
  /** Settings of sections that follow from what is given, by their paths: they are not as stored, unless they are given too. */
  readonly following?: (given: Settings) => readonly string[];
  /** Settings that are given over those stored, by name; absent: what is given takes the place of what is stored. */
  readonly joined?: Readonly<Record<string, (stored: unknown, given: unknown) => unknown>>;
  /** What a checkpoint keeps of a configuration: all but where the run writes, with full paths. */
  readonly stored: (config: Config) => Record<string, unknown>;
}

/** How a section is of a kind. */
export interface KindOfSection {
  /** The setting that says which. */
  readonly key: string;
  /** The kind of earlier versions. */
  readonly default?: string;
  /** Settings that are not of the kind: they are as before where it is another. */
  readonly kept?: readonly string[];
}

/** Settings that a resumed run of any kind may change; the contents of its data are compared. */
const EVERY_RUN = ['data', 'device', 'optimizer', 'schedule', 'epochs', 'steps', 'evaluation', 'checkpoint'];

/** Whether a resumed run may change a setting: those of every run, and `more` of its kind. */
export function mayChangeOf(more: readonly string[] = []): (name: string) => boolean {
  const names = new Set([...EVERY_RUN, ...more]);
  // The state of another optimizer is another.
  return (name) => name !== 'optimizer.kind' && names.has(name.split('.')[0]!);
}

/**
 * The configuration of a resumed run: what was given, and the checkpoint's settings where nothing was given.
 *
 * @param folder the checkpoint, for messages
 * @returns the configuration filled in, and a sentence for each setting that has changed
 * @throws GradCacheError `INPUT` for a change that is not allowed, and for wrong settings; `CHECKPOINT` if the stored settings
 * are damaged
 */
export function resumeSettings<Config>(
  given: Settings,
  stored: Settings,
  folder: string,
  how: ResumableSettings<Config>,
): { config: Config; notes: string[] } {
  const before = readStored(stored, given.output, folder, how);
  const config = how.read(putOver(stored, given, how));
  const then = flatten(how.stored(before), how);
  const now = flatten(how.stored(config), how);
  const notes: string[] = [];
  const refusals: { readonly name: string; readonly difference: string }[] = [];
  for (const name of new Set([...then.keys(), ...now.keys()])) {
    const [was, is] = [then.get(name), now.get(name)];
    if (isDeepStrictEqual(was, is)) continue;
    const [shownThen, shownNow] = [was, is].map((value) => (value === undefined ? 'not set' : show(value)));
    const difference = `was ${shownThen}, now ${shownNow}`;
    if (how.mayChange(name, is, was)) notes.push(`${name} ${difference}`);
    else refusals.push({ name, difference });
  }
  // Some settings follow from others: the one to name is that which was given.
  const refusal = refusals.find(({ name }) => isGivenAt(given, name)) ?? refusals[0];
  if (refusal !== undefined) throw otherRun(folder, refusal.name, refusal.difference);
  return { config, notes };
}

/**
 * The configuration of a run that was ended before its first checkpoint, and begins anew: what was given, and the settings that
 * its folder has where nothing was given. Any of them may change, since no update of the run is left.
 *
 * @param path the file that has the settings, for messages
 */
export function beginAnew<Config>(
  given: Settings,
  stored: Settings,
  path: string,
  how: ResumableSettings<Config>,
): { config: Config; notes: string[] } {
  const { config, notes } = resumeSettings(given, stored, path, { ...how, mayChange: () => true });
  return { config, notes: [`no checkpoint had been made: the run begins anew, as ${path} says`, ...notes] };
}

/** The error for a folder without anything to resume. @param needed the settings of a new run */
export function nothingToResume(output: string, needed: string): GradCacheError {
  return new GradCacheError(
    'INPUT',
    `${output} holds no checkpoint to go on from. Give the output folder of the run, or, for a new one, its ${needed}.`,
  );
}

/** The error for another value of a setting that decides the batches or the gradient. */
export function otherRun(folder: string, setting: string, difference: string): SettingError {
  return new SettingError(
    `config.${setting}`,
    `${difference}, and ${folder} cannot be resumed: the run would be another. Leave the setting out, or give it the value ` +
      'that it had; or start a new run from the model in that folder.',
  );
}

function readStored<Config>(
  stored: Settings,
  output: unknown,
  folder: string,
  { read }: ResumableSettings<Config>,
): Config {
  try {
    return read({ ...stored, output }, `${folder}: config`);
  } catch (error) {
    throw new GradCacheError('CHECKPOINT', (error as Error).message, { cause: error });
  }
}

/** Puts what is given over what is stored. */
function putOver(
  stored: Settings,
  given: Settings,
  {
    sections,
    kinds,
    replaced = {},
    details = {},
    joined = {},
    following = () => [],
    nothing,
  }: Omit<ResumableSettings<never>, 'read' | 'mayChange' | 'stored'>,
): Record<string, unknown> {
  const merged: Record<string, unknown> = { ...stored };
  // The length of a run is one setting under two names.
  if (isGiven(given.epochs) || isGiven(given.steps)) {
    delete merged.epochs;
    delete merged.steps;
  }
  for (const [name, value] of Object.entries(given)) {
    if (!isGiven(value)) continue;
    const before = merged[name];
    const together = sections.includes(name) && isSection(value) && isSection(before);
    merged[name] = together
      ? putOverSection(before, value, {
          kind: kinds[name],
          replaced: replaced[name],
          details: details[name],
          nothing,
        })
      : (joined[name]?.(before, value) ?? value);
  }
  for (const path of following(given)) {
    const [section, setting] = path.split('.') as [string, string];
    const before = merged[section];
    if (!isSection(before) || isGivenAt(given, path)) continue;
    merged[section] = Object.fromEntries(Object.entries(before).filter(([name]) => name !== setting));
  }
  return merged;
}

function putOverSection(
  before: Settings,
  given: Settings,
  how: {
    readonly kind: KindOfSection | undefined;
    readonly replaced: Readonly<Record<string, readonly string[]>> | undefined;
    readonly details: Readonly<Record<string, readonly string[]>> | undefined;
    readonly nothing: unknown;
  },
): Record<string, unknown> {
  const { kind, replaced = {}, details = {}, nothing } = how;
  if (kind !== undefined && isGiven(given[kind.key])) {
    const { key, kept = [] } = kind;
    const ofAny = Object.entries(before).filter(([name]) => kept.includes(name));
    if (given[key] !== (before[key] ?? kind.default)) return { ...Object.fromEntries(ofAny), ...given };
  }
  const set = Object.entries(given).filter(([, value]) => isGiven(value) && value !== nothing);
  const gone = set.flatMap(([name, value]) => [
    ...(replaced[name] ?? []),
    ...((value === false ? details[name] : undefined) ?? []),
  ]);
  const kept = Object.entries(before).filter(([name]) => !gone.includes(name));
  return { ...Object.fromEntries(kept), ...Object.fromEntries(set) };
}

/** Whether a setting is given, by its name or as one of a section. */
function isGivenAt(given: Settings, name: string): boolean {
  const [section, ...rest] = name.split('.') as [string, ...string[]];
  const value = given[section];
  if (rest.length === 0) return isGiven(value);
  return isSection(value) && isGiven(value[rest.join('.')]);
}

const isGiven = (value: unknown): boolean => value !== undefined && value !== null;

function isSection(value: unknown): value is Settings {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Settings by name, those of sections as `section.name`. */
function flatten(
  settings: Settings,
  { sections }: { readonly sections: readonly string[] },
): Map<string, unknown> {
  const flat = new Map<string, unknown>();
  for (const [name, value] of Object.entries(settings)) {
    const inner = sections.includes(name) && isSection(value) ? Object.entries(value) : null;
    const entries: [string, unknown][] = inner?.map(([key, item]) => [`${name}.${key}`, item]) ?? [
      [name, value],
    ];
    for (const [path, item] of entries) if (isGiven(item)) flat.set(path, item);
  }
  return flat;
}
