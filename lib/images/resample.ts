/*
 * Pillow's resampling of pictures with 8 bits a colour, to the last bit: models were trained on pictures that it made smaller.
 * It widens the filter where a picture gets smaller, and rounds after the rows and again after the columns.
 */
import type { Picture } from './picture.js';

/** A filter by its distance from the middle, which is 0 from `reach` on. */
interface Filter {
  readonly reach: number;
  readonly at: (distance: number) => number;
}

const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

/** Pillow's filters by their numbers in preprocessor_config.json. */
const FILTERS: ReadonlyMap<number, Filter> = new Map([
  [1, { reach: 3, at: (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0) }], // Lanczos
  [2, { reach: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) }], // bilinear
  [3, { reach: 2, at: cubic }],
  [4, { reach: 0.5, at: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) }], // box
  [5, { reach: 1, at: hamming }],
]);

/** The numbers of the filters. */
export const RESAMPLINGS: readonly number[] = [...FILTERS.keys()];

function cubic(x: number): number {
  const a = -0.5;
  const d = Math.abs(x);
  if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  if (d < 2) return (((d - 5) * d + 8) * d - 4) * a;
  return 0;
}

function hamming(x: number): number {
  const d = Math.abs(x);
  if (d === 0) return 1;
  return d >= 1 ? 0 : sinc(d) * (0.54 + 0.46 * Math.cos(Math.PI * d));
}

/** Bits behind the point of Pillow's weights. Sums of 255 of them, with those below 0 apart, fit 32 bits. */
const FRACTION_BITS = 22;
const FRACTION = 2 ** FRACTION_BITS;

/** What each new point is made of. */
interface Sources {
  /** From which old point on. */
  readonly first: Int32Array;
  /** Of how many, at most; never more than there are. */
  readonly most: number;
  /** [new points, most], zeros behind those that a point has. */
  readonly weights: Int32Array;
}

function sourcesOf(before: number, after: number, { reach, at }: Filter): Sources {
  const scale = before / after;
  const widened = Math.max(scale, 1);
  const first = new Int32Array(after);
  const each = Array.from({ length: after }, (_, place) => {
    const middle = (place + 0.5) * scale;
    const begin = Math.max(0, Math.trunc(middle - reach * widened + 0.5));
    const end = Math.min(before, Math.trunc(middle + reach * widened + 0.5));
    first[place] = begin;
    return Array.from({ length: end - begin }, (_, k) => at((k + begin - middle + 0.5) / widened));
  });
  const most = each.reduce((longest, { length }) => Math.max(longest, length), 0);
  const weights = new Int32Array(after * most);
  for (const [place, own] of each.entries()) {
    const sum = own.reduce((total, weight) => total + weight, 0);
    for (const [k, weight] of own.entries()) {
      // Half away from 0, as C rounds after adding a half of the sign.
      const fixed = (sum === 0 ? weight : weight / sum) * FRACTION;
      weights[place * most + k] = Math.trunc(fixed < 0 ? fixed - 0.5 : fixed + 0.5);
    }
    // Zeros take their points from the picture too.
    const beyond = first[place]! + most - before;
    if (beyond > 0) {
      weights.copyWithin(place * most + beyond, place * most, (place + 1) * most - beyond);
      weights.fill(0, place * most, place * most + beyond);
      first[place]! -= beyond;
    }
  }
  return { first, most, weights };
}

/** @param resampling one of {@link RESAMPLINGS} */
export function resized(picture: Picture, width: number, height: number, resampling: number): Picture {
  const filter = FILTERS.get(resampling)!;
  const wide = picture.width === width ? picture : alongRows(picture, width, filter);
  return wide.height === height ? wide : alongColumns(wide, height, filter);
}

/*
 * The loops below are most of the time that a picture takes. Numbers of 32 bits and typed arrays alone let the engine keep them in
 * registers; storing into a Uint8ClampedArray cuts at 0 and 255.
 */

function alongRows({ width: before, height, points }: Picture, width: number, filter: Filter): Picture {
  const { first, most, weights } = sourcesOf(before, width, filter);
  const made = new Uint8ClampedArray(width * height * 3);
  for (let y = 0, target = 0; y < height; y++) {
    for (let x = 0; x < width; x++, target += 3) {
      let source = 3 * (y * before + first[x]!);
      let red = FRACTION / 2;
      let green = red;
      let blue = red;
      for (let k = x * most, end = k + most; k < end; k++, source += 3) {
        const weight = weights[k]!;
        red = (red + Math.imul(points[source]!, weight)) | 0;
        green = (green + Math.imul(points[source + 1]!, weight)) | 0;
        blue = (blue + Math.imul(points[source + 2]!, weight)) | 0;
      }
      made[target] = red >> FRACTION_BITS;
      made[target + 1] = green >> FRACTION_BITS;
      made[target + 2] = blue >> FRACTION_BITS;
    }
  }
  return { width, height, points: new Uint8Array(made.buffer) };
}

function alongColumns({ width, height: before, points }: Picture, height: number, filter: Filter): Picture {
  const { first, most, weights } = sourcesOf(before, height, filter);
  const row = 3 * width;
  const made = new Uint8ClampedArray(row * height);
  const sums = new Int32Array(row);
  for (let y = 0; y < height; y++) {
    sums.fill(FRACTION / 2);
    for (let k = 0; k < most; k++) {
      const weight = weights[y * most + k]!;
      if (weight === 0) continue;
      const source = row * (first[y]! + k);
      for (let place = 0; place < row; place++)
        sums[place] = (sums[place]! + Math.imul(points[source + place]!, weight)) | 0;
    }
    const target = row * y;
    for (let place = 0; place < row; place++) made[target + place] = sums[place]! >> FRACTION_BITS;
  }
  return { width, height, points: new Uint8Array(made.buffer) };
}

/** The middle of a picture; where it is smaller than that, black is around it. */
export function cropped(
  { width: before, height: rows, points }: Picture,
  width: number,
  height: number,
): Picture {
  const left = offsetOf(before, width);
  const top = offsetOf(rows, height);
  const made = new Uint8Array(3 * width * height);
  const begin = Math.max(0, -left);
  const end = Math.min(width, before - left);
  for (let y = Math.max(0, -top); y < Math.min(height, rows - top); y++) {
    const source = 3 * ((y + top) * before + left);
    made.set(points.subarray(source + 3 * begin, source + 3 * end), 3 * (y * width + begin));
  }
  return { width, height, points: made };
}

/** Where the middle begins; below 0 where there is less than that. The odd point of what is added comes first, as in transformers. */
function offsetOf(before: number, after: number): number {
  return Math.floor((before - after) / 2);
}
