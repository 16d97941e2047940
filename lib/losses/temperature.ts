import { refuse, type Fields } from '../options/fields.js';
import { checkKnown } from '../options/known-options.js';
import { isNumber, refused, requireBoolean, requireNumber } from '../options/option-values.js';
import type { SettingTable } from '../options/setting-table.js';
import { fixedNumber, learnedNumber, type LossNumber } from './loss-number.js';

/**
 * What divides the similarities of a softmax. `{ initial, learned: true }` trains the logarithm of its inverse, as CLIP
 * does (Radford et al. 2021, 2.5). It stays within `bounds`, by default CLIP's: 0.01 to 1. The optimizer gets the parameter
 * from `parameters()`.
 */
export type Temperature =
  | number
  | {
      readonly initial: number;
      readonly learned: boolean;
      /** The least and the greatest learned temperature. Default [0.01, 1]. */
      readonly bounds?: readonly [number, number];
    };

/** Where a learned temperature ends, as in CLIP, which limits the inverse to 100 and 1. */
const BOUNDS = [0.01, 1] as const;

/** The factor of similarities, and its inverse, the temperature. */
export interface Scale {
  readonly scale: LossNumber;
  readonly temperature: () => number;
}

/** @throws GradCacheError `INPUT` for a temperature that is not positive, or beyond the bounds of a learned one */
export function scaleFrom(given: unknown): Scale {
  const { initial, learned, bounds } = read(given);
  requireNumber('temperature', initial, { above: 0 });
  if (!Number.isFinite(1 / initial))
    throw refused('temperature', initial, 'a number whose inverse is finite');
  if (!learned) return { scale: fixedNumber(1 / initial), temperature: () => initial };
  const [least, greatest] = bounds;
  if (initial < least || initial > greatest)
    throw refused('temperature', initial, withinBounds(bounds, 'temperature.bounds'));
  const scale = learnedNumber({
    name: 'loss.log_scale',
    initial: Math.log(1 / initial),
    least: Math.log(1 / greatest),
    most: Math.log(1 / least),
    valueAt: (logarithm) => 1 / Math.exp(-logarithm),
  });
  return { scale, temperature: () => 1 / scale.value };
}

function read(given: unknown): { initial: unknown; learned: boolean; bounds: readonly [number, number] } {
  if (typeof given !== 'object' || given === null) return { initial: given, learned: false, bounds: BOUNDS };
  checkKnown('temperature', given, ['initial', 'learned', 'bounds']);
  const {
    initial,
    learned,
    bounds = BOUNDS,
  } = given as { initial?: unknown; learned?: unknown; bounds?: unknown };
  requireBoolean('temperature.learned', learned);
  requireBounds(bounds);
  if (!learned && bounds !== BOUNDS)
    throw refused('temperature.bounds', bounds, 'learned: true, or no bounds,');
  return { initial, learned, bounds };
}

function requireBounds(given: unknown): asserts given is readonly [number, number] {
  const numbers: unknown[] = Array.isArray(given) ? given : [];
  const [least, greatest] = numbers;
  const good = numbers.length === 2 && [least, greatest].every((each) => isNumber(each, { above: 0 }));
  if (!good || (least as number) >= (greatest as number))
    throw refused('temperature.bounds', given, 'the least and the greatest temperature, both above 0,');
}

const withinBounds = ([least, greatest]: readonly [number, number], setting: string): string =>
  `a number from ${least} to ${greatest}, where a learned temperature stays (${setting}),`;

/** The temperature in a configuration. */
export interface TemperatureSettings {
  /** Divides similarities; smaller is sharper. */
  readonly temperature: number;
  /** Learn the temperature, as CLIP does. Default false. */
  readonly learned: boolean;
  /** The least and the greatest learned temperature. Default [0.01, 1]. */
  readonly temperatureBounds: readonly number[];
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
      help: 'learn it, starting from that',
    },
    temperatureBounds: {
      kind: 'numbers',
      count: 2,
      above: 0,
      default: BOUNDS,
      help: `where a learned one stays; default ${BOUNDS.join()}`,
    },
  };
}

/** @throws GradCacheError `INPUT` for a learned temperature beyond its bounds, or bounds that are none */
export function checkTemperature(settings: TemperatureSettings, fields: Fields): void {
  const { learned, temperature, temperatureBounds } = settings;
  const [least, greatest] = temperatureBounds as [number, number];
  if (least >= greatest)
    throw refuse(fields.at('temperatureBounds'), temperatureBounds, 'the least before the greatest');
  if (learned && (temperature < least || temperature > greatest))
    throw refuse(fields.at('temperature'), temperature, withinBounds([least, greatest], 'temperatureBounds'));
}

/** The temperature that settings stand for. */
export function temperatureFrom(settings: TemperatureSettings): Temperature {
  const { temperature: initial, learned, temperatureBounds } = settings;
  return learned ? { initial, learned, bounds: temperatureBounds as [number, number] } : initial;
}
