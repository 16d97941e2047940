import { types } from 'node:util';
import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireCount } from '../options/option-values.js';
import { readGiven } from '../options/read-given.js';
import type { Segment } from './segment-model.js';

/** Tokens in a row. */
export function lengthOf({ inputs, rows }: Segment): number {
  return inputs.length / rows;
}

/** How many places have a target. */
export function targetsIn({ targets }: Segment): number {
  return targets.reduce((count, target) => count + (target >= 0 ? 1 : 0), 0);
}

/**
 * Checks a segment.
 *
 * @param name of the segment in messages
 * @throws GradCacheError `INPUT` for an empty segment, for rows that end and do not exist; `SHAPE` for lengths that do not fit
 */
export function requireSegment(name: string, segment: unknown): asserts segment is Segment {
  readGiven(name, () => {
    checkKnown(name, segment, ['rows', 'inputs', 'targets', 'start', 'ends']);
    const { rows, inputs, targets, start, ends } = segment as Partial<Segment>;
    requireCount(`rows of ${name}`, rows, 1);
    if (!types.isInt32Array(inputs)) throw refused(`inputs of ${name}`, inputs, 'an Int32Array');
    if (!types.isInt32Array(targets)) throw refused(`targets of ${name}`, targets, 'an Int32Array');
    if (inputs.length === 0) throw new GradCacheError('INPUT', `${name} is empty: it has no token`);
    if (inputs.length % rows !== 0)
      throw new GradCacheError(
        'SHAPE',
        `${name} has ${inputs.length} tokens, which ${rows} rows cannot share`,
      );
    if (targets.length !== inputs.length)
      throw new GradCacheError(
        'SHAPE',
        `${name} has ${inputs.length} tokens and ${targets.length} targets; one for each token is needed`,
      );
    if (start !== undefined) requireCount(`start of ${name}`, start, 0);
    if (ends !== undefined) requireRows(`ends of ${name}`, ends, rows);
  });
}

/**
 * Checks the segments of a step.
 *
 * @param rows of the state that they start from; undefined: any
 * @param position where that state is in its streams
 * @throws GradCacheError `INPUT` for an empty list or segment, or segments in the wrong order; `SHAPE`
 */
export function requireSegments(
  segments: readonly unknown[],
  rows: number | undefined,
  position: number,
): asserts segments is readonly Segment[] {
  if (segments.length === 0) throw new GradCacheError('INPUT', 'a step needs at least one segment');
  let here = position;
  let before = rows;
  for (const [index, segment] of segments.entries()) {
    const name = segments.length === 1 ? 'the segment' : `segment ${index}`;
    requireSegment(name, segment);
    if (before !== undefined && segment.rows !== before)
      throw new GradCacheError(
        'SHAPE',
        `${name} has ${segment.rows} rows, the state before it ${before}; reset() makes a step start anew`,
      );
    if (segment.start !== undefined && segment.start !== here)
      throw new GradCacheError(
        'INPUT',
        `${name} starts at token ${segment.start}, but the segment before ended at ${here}; give segments in their order, ` +
          'or reset() to start anew',
      );
    before = segment.rows;
    here += lengthOf(segment);
  }
}

function requireRows(name: string, ends: unknown, rows: number): void {
  if (!Array.isArray(ends)) throw refused(name, ends, 'a list of rows');
  const isRow = (row: unknown) => Number.isSafeInteger(row) && (row as number) >= 0 && (row as number) < rows;
  const wrong = ends.findIndex((row) => !isRow(row));
  if (wrong >= 0) throw refused(`${name}[${wrong}]`, ends[wrong], `a row from 0 to ${rows - 1}`);
}
