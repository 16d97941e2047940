/*
 * Settings that every training run has, whatever it trains.
 */
import { refuse, SettingError, Fields } from '../options/fields.js';
import { readGiven } from '../options/read-given.js';

/** A configuration as it was given, and what has to be known of it before its other settings can be read. */
export interface GivenConfig {
  readonly settings: Readonly<Record<string, unknown>>;
  readonly output: string;
  readonly resume: boolean | string;
}

/** Copies what was given: no setting is asked for twice. @throws GradCacheError `INPUT` */
export function readPlace(value: unknown): GivenConfig {
  new Fields(value, 'config'); // refuses what is not an object
  const settings = readGiven('config', () => ({ ...(value as Record<string, unknown>) }));
  const fields = new Fields(settings, 'config');
  return { settings, output: readOutput(fields), resume: readResume(fields) };
}

/** @throws GradCacheError `INPUT` for settings of a command that starts processes */
export function refuseLauncherSettings(
  { settings }: GivenConfig,
  { command, does }: { readonly command: string; readonly does: string },
): void {
  for (const name of ['gpus', 'timeout'])
    if ((settings[name] ?? null) !== null)
      throw new SettingError(
        `config.${name}`,
        `is for \`gradcache ${command}\`, which starts the processes. A program of your own is started by a launcher, meets the ` +
          `others with Ranks.join() and gives ${does} its ranks.`,
      );
}

/** The length of a run in updates, or in passes over its data (default: one). */
export function readLength(fields: Fields): { epochs: number | undefined; steps: number | undefined } {
  const epochs = fields.count('epochs');
  const steps = fields.count('steps');
  if (epochs !== undefined && steps !== undefined)
    throw new SettingError(
      fields.path,
      `has both epochs (${epochs}) and steps (${steps}): give one of them.`,
    );
  return { epochs: steps === undefined ? (epochs ?? 1) : undefined, steps };
}

export function readOutput(fields: Fields): string {
  return fields.string('output') ?? fields.missing('output', 'give a folder for the results');
}

export function readDevice(fields: Fields): string {
  const device = fields.string('device') ?? 'auto';
  if (/^(auto|cpu|cuda(:\d+)?)$/.test(device)) return device;
  throw refuse(fields.at('device'), device, '"auto", "cpu", "cuda" or "cuda:N"');
}

/** The fields of a section, which may be left out. */
export function section(fields: Fields, name: string): Fields {
  return fields.object(name) ?? new Fields({}, fields.at(name));
}

/** @param otherwise the kind of a schedule that names none */
export function readSchedule(fields: Fields, otherwise: 'linear' | 'cosine') {
  const kind = fields.oneOf('kind', ['linear', 'cosine', 'constant']) ?? otherwise;
  const warmup = fields.number('warmup', { from: 0 }) ?? 0.1;
  if (warmup > 1 && !Number.isInteger(warmup))
    throw refuse(fields.at('warmup'), warmup, 'a whole number of steps, or a part of all steps below 1');
  fields.done();
  return { kind, warmup };
}

export function readResume(fields: Fields): boolean | string {
  const value = fields.raw('resume') ?? false;
  if (typeof value === 'boolean' || (typeof value === 'string' && value !== '')) return value;
  throw refuse(fields.at('resume'), value, 'true, false or the path of a checkpoint folder');
}
