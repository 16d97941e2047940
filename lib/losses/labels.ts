import { GradCacheError } from '../errors.js';
import { refused, show } from '../options/option-values.js';
import { Tensor } from '../tensor/tensor.js';

/** The keyword argument `labels` of a loss, one for each row; null: there are none. @throws GradCacheError `INPUT`, `SHAPE` */
export function labelsOf(given: unknown, rows: number): number[] | null {
  if (given === undefined) return null;
  const list = Array.isArray(given) ? (given as readonly unknown[]) : fromTypedArray(given);
  requireForEach('labels', list, rows);
  const wrong = list.findIndex((label) => typeof label !== 'number' || !Number.isFinite(label));
  if (wrong >= 0) throw refused(`labels[${wrong}]`, list[wrong], 'a finite number');
  return [...(list as readonly number[])];
}

/** @throws GradCacheError `INPUT`, `SHAPE` unless it is a list with an entry for each row */
export function requireForEach(
  name: string,
  given: unknown,
  rows: number,
): asserts given is readonly unknown[] {
  if (!Array.isArray(given)) throw refused(name, given, 'a list with an entry for each row');
  if (given.length !== rows)
    throw new GradCacheError(
      'SHAPE',
      `There are ${given.length} ${name} for ${rows} rows; one for each is needed.`,
    );
}

/** {@link labelsOf} for a loss that cannot do without. @param needed what a label says: `a score for each pair` */
export function requiredLabels(loss: string, needed: string, given: unknown, rows: number): number[] {
  return labelsOf(given, rows) ?? missing(loss, needed);
}

/**
 * Labels that are classes.
 *
 * @param count how many classes there are; default: any whole numbers are good
 * @throws GradCacheError `INPUT`, `SHAPE`
 */
export function classLabels(loss: string, given: unknown, rows: number, count = Infinity): number[] {
  const needed = 'the class of each row';
  const labels = requiredLabels(loss, needed, given, rows);
  const from = Number.isFinite(count) ? 0 : -Infinity;
  const wrong = labels.findIndex((label) => !Number.isSafeInteger(label) || label < from || label >= count);
  if (wrong < 0) return labels;
  const limits = Number.isFinite(count) ? `a whole number from 0 to ${count - 1}` : 'a whole number';
  throw refused(`labels[${wrong}]`, labels[wrong], limits);
}

/** Labels of one or more numbers a row. */
export interface LabelMatrix {
  /** [rows], [rows, numbers] or [rows, towers, numbers]. */
  readonly shape: readonly number[];
  /** The labels in the type of a tensor and on its device; a new tensor without a graph. */
  like(tensor: Tensor): Tensor;
}

/**
 * Labels that are numbers, lists of as many numbers each, lists of such lists, or a tensor of any of these shapes.
 *
 * @throws GradCacheError `INPUT`, `SHAPE`
 */
export function labelMatrix(loss: string, needed: string, given: unknown, rows: number): LabelMatrix {
  if (given === undefined) return missing(loss, needed);
  if (given instanceof Tensor) return ofTensor(given, rows);
  const shape = shapeOf(given);
  if (shape.length === 0) throw refused('labels', given, 'a list with an entry for each row');
  requireRows(shape, rows);
  const values = new Float64Array(shape.reduce((product, extent) => product * extent, 1));
  fill(values, given, shape, 'labels', 0);
  return {
    shape,
    like: ({ dtype, device }) => Tensor.from(values, { shape }).to({ dtype, device }),
  };
}

function ofTensor(labels: Tensor, rows: number): LabelMatrix {
  const { shape } = labels;
  requireRows(shape, rows);
  return { shape, like: ({ dtype, device }) => labels.detach().to({ dtype, device }) };
}

function requireRows(shape: readonly number[], rows: number): void {
  if (shape[0] !== rows)
    throw new GradCacheError(
      'SHAPE',
      `There are ${shape[0] ?? 0} labels for ${rows} rows; one for each is needed.`,
    );
}

/** The extents of nested lists, which those of the first entries tell. */
function shapeOf(given: unknown): number[] {
  const list = listOf(given);
  if (list === undefined) return [];
  return list.length === 0 ? [0] : [list.length, ...shapeOf(list[0])];
}

/** Writes nested lists into `values` from a place. Returns the place after them. */
function fill(
  values: Float64Array,
  given: unknown,
  [extent, ...inner]: readonly number[],
  name: string,
  place: number,
): number {
  const list = listOf(given);
  if (extent === undefined) {
    if (typeof given !== 'number' || !Number.isFinite(given)) throw refused(name, given, 'a finite number');
    values[place] = given;
    return place + 1;
  }
  if (list === undefined) throw refused(name, given, `a list of ${extent} numbers, like those before,`);
  if (list.length !== extent)
    throw new GradCacheError('SHAPE', `${name} has ${list.length} numbers, and those before have ${extent}`);
  for (let k = 0; k < extent; k++) place = fill(values, list[k], inner, `${name}[${k}]`, place);
  return place;
}

function listOf(given: unknown): ArrayLike<unknown> | undefined {
  if (Array.isArray(given)) return given as readonly unknown[];
  return ArrayBuffer.isView(given) && 'length' in given
    ? (given as ArrayLike<unknown> & ArrayBufferView)
    : undefined;
}

function fromTypedArray(given: unknown): unknown {
  const list = listOf(given);
  return list === undefined ? given : Array.from(list);
}

function missing(loss: string, needed: string): never {
  throw new GradCacheError(
    'INPUT',
    `The loss ${loss} needs labels, ${needed}: give step(inputs, { loss: { labels } }), or ${show('label')}, the column of ` +
      'the data that has them, to train.',
  );
}
