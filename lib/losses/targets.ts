import { types } from 'node:util';
import { GradCacheError } from '../errors.js';
import { refused } from '../options/option-values.js';
import type { LossOptions } from './loss.js';

/**
 * The option `targets` of a step: for each anchor the number of its candidate, counted through positives and hard negatives.
 * Null: it is not given.
 *
 * @throws GradCacheError `INPUT`, `SHAPE`
 */
export function targetsOf(options: LossOptions, anchors: number): number[] | null {
  const lists = targetListsOf(options, anchors);
  const several = lists?.findIndex(({ length }) => length > 1) ?? -1;
  if (several >= 0) throw refused(`targets[${several}]`, lists![several], 'the number of one candidate');
  return lists && lists.map(([target]) => target!);
}

/** The same, of a loss that takes lists of the numbers of several. */
function targetListsOf({ targets }: LossOptions, anchors: number): (readonly number[])[] | null {
  if (targets === undefined || targets === null) return null;
  const given = listOf('targets', targets, 'a list with the candidate of each anchor');
  requireLength('targets', given.length, anchors, 'anchors');
  return given.map((each, anchor) => candidatesOf(each, anchor));
}

/**
 * The native settings for one or several targets of each anchor.
 *
 * @param rows of all towers: anchors, then candidates
 * @throws GradCacheError `INPUT`, `SHAPE`
 */
export function targetSettings(
  options: LossOptions,
  rows: readonly number[],
): Readonly<Record<'targets' | 'targetCounts', Int32Array | null>> {
  const [anchors = 0, positives, ...negatives] = rows;
  if (positives === undefined)
    throw new GradCacheError(
      'SHAPE',
      `the loss needs at least two towers, anchors and candidates; got ${rows.length}`,
    );
  const lists = targetListsOf(options, anchors);
  if (lists === null) {
    if (positives !== anchors)
      throw new GradCacheError(
        'SHAPE',
        `${anchors} anchors but ${positives} positives: give explicit targets, or as many positives as anchors`,
      );
    return { targets: null, targetCounts: null };
  }
  const candidates = negatives.reduce((sum, count) => sum + count, positives);
  const outside = lists.flat().find((target) => target >= candidates);
  if (outside !== undefined)
    throw new GradCacheError('SHAPE', `target ${outside} is not one of the ${candidates} candidates`);
  const several = lists.some(({ length }) => length > 1);
  return {
    targets: Int32Array.from(lists.flat()),
    targetCounts: several ? Int32Array.from(lists, ({ length }) => length) : null,
  };
}

function candidatesOf(given: unknown, anchor: number): readonly number[] {
  const name = `targets[${anchor}]`;
  const list = typeof given === 'number' ? [given] : listOf(name, given, CANDIDATES);
  if (list.length === 0 || !list.every(isPlace) || new Set(list).size < list.length)
    throw refused(name, given, CANDIDATES);
  return list;
}

const CANDIDATES = 'the number of a candidate, from 0, or a list of different ones';

/**
 * The option `owners` of a step: for each hard negative, one tower after the other, the number of its anchor; -1: of none.
 *
 * @param rows of all towers: anchors, positives, then hard negatives
 * @param needed whether each hard negative must have one: without owners row i belongs to anchor i
 * @throws GradCacheError `INPUT`, `SHAPE`
 */
export function ownersOf(
  { owners }: LossOptions,
  rows: readonly number[],
  needed: boolean,
): Int32Array | null {
  const [anchors = 0, , ...negatives] = rows;
  if (owners === undefined || owners === null) {
    const uneven = needed ? negatives.findIndex((count) => count !== anchors) : -1;
    if (uneven < 0) return null;
    throw new GradCacheError(
      'SHAPE',
      `tower ${uneven + 2} has ${negatives[uneven]} hard negatives for ${anchors} anchors: say with the option owners of the ` +
        'step which anchor each belongs to',
    );
  }
  const given = listOf('owners', owners, 'a list with the anchor of each hard negative');
  const count = negatives.reduce((sum, each) => sum + each, 0);
  requireLength('owners', given.length, count, 'hard negatives');
  const wrong = given.findIndex((owner) => owner !== -1 && !(isPlace(owner) && owner < anchors));
  if (wrong >= 0)
    throw refused(
      `owners[${wrong}]`,
      given[wrong],
      `the number of an anchor, from 0 to ${anchors - 1}, or -1`,
    );
  return Int32Array.from(given as number[]);
}

/** The owners of hard negatives where none are given: row i belongs to anchor i, in towers with as many rows as anchors. */
export function ownersByRow([anchors = 0, , ...negatives]: readonly number[]): number[] {
  return negatives.flatMap((count) =>
    Array.from({ length: count }, (_, row) => (count === anchors ? row : -1)),
  );
}

/**
 * The option `weights` of a step: how much each anchor counts.
 *
 * @throws GradCacheError `INPUT`, `SHAPE`
 */
export function weightsOf({ weights }: LossOptions, anchors: number): Float64Array | null {
  if (weights === undefined || weights === null) return null;
  const given = listOf('weights', weights, 'a list with a weight for each anchor');
  requireLength('weights', given.length, anchors, 'anchors');
  const wrong = given.findIndex(
    (weight) => typeof weight !== 'number' || !(weight >= 0 && weight < Infinity),
  );
  if (wrong >= 0) throw refused(`weights[${wrong}]`, given[wrong], 'a finite number from 0');
  const values = Float64Array.from(given as number[]);
  if (!values.some((weight) => weight > 0)) throw refused('weights', weights, 'at least one weight above 0');
  return values;
}

function listOf(name: string, given: unknown, needed: string): readonly unknown[] {
  if (Array.isArray(given)) return Array.from(given as readonly unknown[]); // a hole becomes undefined
  if (types.isInt32Array(given) || types.isFloat64Array(given) || types.isFloat32Array(given))
    return Array.from(given);
  throw refused(name, given, needed);
}

function requireLength(name: string, length: number, rows: number, what: string): void {
  if (length !== rows) throw new GradCacheError('SHAPE', `${length} ${name} for ${rows} ${what}`);
}

const isPlace = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < 2 ** 31;
