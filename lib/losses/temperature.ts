import { GradCacheError } from '../errors.js';
import { refuse, type Fields } from '../options/fields.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireBoolean, requireNumber, show } from '../options/option-values.js';
import type { SettingTable } from '../options/setting-table.js';
import { fixedNumber, learnedNumber, type LossNumber } from './loss-number.js';

/**
 * What divides the similarities of a softmax. `{ initial, learned: true }` trains the logarithm of its inverse, as CLIP
 * does (Radford et al. 2021, 2.5). The inverse never exceeds 100. The optimizer gets the parameter from `parameters()`.
 */
export type Temperature = number | { readonly initial: number; readonly learned: boolean };

/** The largest inverse temperature that a learned one reaches, as in CLIP. */
const GREATEST_SCALE = 100;

/** The factor of similarities, and its inverse, the temperature. */
export interface Scale {
  readonly scale: LossNumber;
  readonly temperature: () => number;
}

/** @throws GradCacheError `INPUT` for a temperature that is not positive, or too low for a learned one */
export function scaleFrom(given: unknown): Scale {
  const { initial, learned } = read(given);
  requireNumber('temperature', initial, { above: 0 });
  if (!Number.isFinite(1 / initial))
    throw refused('temperature', initial, 'a number whose inverse is finite');
  if (!learned) return { scale: fixedNumber(1 / initial), temperature: () => initial };
  if (1 / initial > GREATEST_SCALE) {
    throw new GradCacheError(
      'INPUT',
      `temperature ${show(initial)} is below ${1 / GREATEST_SCALE}, where a learned one ends; a fixed one can be that low`,
    );
  }
  const scale = learnedNumber({
    name: 'loss.log_scale',
    initial: Math.log(1 / initial),
    most: Math.log(GREATEST_SCALE),
    valueAt: (logarithm) => 1 / Math.exp(-logarithm),
  });
  return { scale, temperature: () => 1 / scale.value };
}

function read(given: unknown): { initial: unknown; learned: boolean } {
  if (typeof given !== 'object' || given === null) return { initial: given, learned: false };
  checkKnown('temperature', given, ['initial', 'learned']);
  const { initial, learned } = given as { initial?: unknown; learned?: unknown };
  requireBoolean('temperature.learned', learned);
  return { initial, learned };
}

/** The temperature in a configuration. */
export interface TemperatureSettings {
  /** Divides similarities; smaller is sharper. */
  readonly temperature: number;
  /** Learn the temperature, as CLIP does. Default false. */
  readonly learned: boolean;
}

/** The settings of a temperature, for the table of a loss. */
export function temperatureSettings(standard: number): SettingTable<TemperatureSettings> {
  return {
    temperature: {
      kind: 'number',
      above: 0,
      default: standard,
      flag: 'temperature',
      help: `default ${standard}`,
    },
    learned: {
      kind: 'switch',
      default: false,
      flag: 'learn-temperature',
      help: 'learn it, starting from that (0.01 or more, and never below)',
    },
  };
}

/** @throws GradCacheError `INPUT` for a learned temperature that is too low */
export function checkTemperature({ learned, temperature }: TemperatureSettings, fields: Fields): void {
  if (!learned || temperature >= 1 / GREATEST_SCALE) return;
  throw refuse(
    fields.at('temperature'),
    temperature,
    `a finite number from ${1 / GREATEST_SCALE}, which a learned temperature never falls below`,
  );
}
