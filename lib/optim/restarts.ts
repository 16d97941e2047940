import { checkKnown } from '../options/known-options.js';
import { refused, requireCount, requireNumber } from '../options/option-values.js';
import type { Schedule } from './schedules.js';

/**
 * The updates before which a run starts anew. `{ first }`: that one, and then at each doubling of it, so that cycles get
 * longer: 5, 10, 20, 40 … `{ at }`: those listed; cycles behind them are as long as the last one of the list.
 */
export type Restarts =
  | {
      /** The first of them. */
      readonly first: number;
    }
  | {
      /** The updates. */
      readonly at: readonly number[];
    };

/** Where an update is. */
export interface Cycle {
  /** The number of restarts before it. */
  readonly index: number;
  /** How much of its cycle is over: from 0 up to, not including, 1. */
  readonly progress: number;
}

/** @throws GradCacheError `INPUT` */
export function requireRestarts(name: string, restarts: unknown): asserts restarts is Restarts {
  checkKnown(name, restarts, ['first', 'at']);
  const { first, at } = restarts as { first?: unknown; at?: unknown };
  if (at === undefined) {
    requireCount(`first of ${name}`, first, 1);
    return;
  }
  if (first !== undefined) throw refused(name, restarts, '{ first } or { at }');
  const isRising = (list: readonly unknown[]) =>
    list.every(
      (value, place) => Number.isSafeInteger(value) && (value as number) > Number(list[place - 1] ?? 0),
    );
  if (!Array.isArray(at) || at.length === 0 || !isRising(at))
    throw refused(`at of ${name}`, at, 'a list of whole numbers above 0, each above the one before,');
}

/** The cycle of an update, counted from 0. */
export function cycleAt(restarts: Restarts, update: number): Cycle {
  const [index, from, to] =
    'first' in restarts ? doubling(restarts.first, update) : listed(restarts.at, update);
  return { index, progress: (update - from) / (to - from) };
}

function doubling(first: number, update: number): [index: number, from: number, to: number] {
  if (update < first) return [0, 0, first];
  let [index, from] = [1, first];
  for (; from * 2 <= update; from *= 2) index++;
  return [index, from, from * 2];
}

function listed(at: readonly number[], update: number): [index: number, from: number, to: number] {
  const next = at.findIndex((restart) => update < restart);
  if (next >= 0) return [next, at[next - 1] ?? 0, at[next]!];
  const last = at.at(-1)!;
  const length = last - (at.at(-2) ?? 0);
  const more = Math.floor((update - last) / length);
  return [at.length + more, last + more * length, last + (more + 1) * length];
}

/** Options of {@link restartSchedule}. */
export interface RestartScheduleOptions {
  /** The learning rate at each restart. */
  readonly lr: number;
  /** When the rate starts anew. */
  readonly restarts: Restarts;
  /** The learning rate that each cycle ends at. Default 0. */
  readonly final?: number;
}

/**
 * In each cycle half a cosine wave from `lr` to `final`.
 *
 * @throws GradCacheError `INPUT`
 * @example
 * ```ts
 * const schedule = restartSchedule({ lr: 1e-3, restarts: { first: 100 } });
 * optimizer.lr = schedule(step);
 * ```
 */
export function restartSchedule(options: RestartScheduleOptions): Schedule {
  checkKnown('restartSchedule', options, ['lr', 'restarts', 'final']);
  const { lr, restarts, final = 0 } = options;
  requireNumber('lr of a schedule', lr, { from: 0 });
  requireNumber('final of a schedule', final, { from: 0, to: lr });
  requireRestarts('restarts', restarts);
  return (step) => {
    requireNumber('the step of a schedule', step, { from: 0 });
    return final + ((lr - final) * (1 + Math.cos(Math.PI * cycleAt(restarts, step).progress))) / 2;
  };
}
