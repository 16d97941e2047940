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

/** Bits behind the point of Pillow's weights. */
const FRACTION = 2 ** 22;

/** What each new point is made of: from which old point on, and the weights of that and the following ones. */
interface Sources {
  readonly first: Int32Array;
  readonly weights: readonly Int32Array[];
}

function sourcesOf(before: number, after: number, { reach, at }: Filter): Sources {
  const scale = before / after;
  const widened = Math.max(scale, 1);
  const first = new Int32Array(after);
  const weights = Array.from({ length: after }, (_, place) => {
    const middle = (place + 0.5) * scale;
    const begin = Math.max(0, Math.trunc(middle - reach * widened + 0.5));
    const end = Math.min(before, Math.trunc(middle + reach * widened + 0.5));
    const each = Array.from({ length: end - begin }, (_, k) => at((k + begin - middle + 0.5) / widened));
    const sum = each.reduce((total, weight) => total + weight, 0);
    first[place] = begin;
    // Half away from 0, as C rounds after adding a half of the sign.
    return Int32Array.from(each, (weight) => {
      const fixed = (sum === 0 ? weight : weight / sum) * FRACTION;
      return Math.trunc(fixed < 0 ? fixed - 0.5 : fixed + 0.5);
    });
  });
  return { first, weights };
}

const rounded = (sum: number): number => Math.min(255, Math.max(0, Math.floor(sum / FRACTION)));

/** @param resampling one of {@link RESAMPLINGS} */
export function resized(picture: Picture, width: number, height: number, resampling: number): Picture {
  const filter = FILTERS.get(resampling)!;
  const wide = picture.width === width ? picture : alongRows(picture, width, filter);
  return wide.height === height ? wide : alongColumns(wide, height, filter);
}

function alongRows({ width: before, height, points }: Picture, width: number, filter: Filter): Picture {
  const { first, weights } = sourcesOf(before, width, filter);
  const made = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const own = weights[x]!;
      const source = 3 * (y * before + first[x]!);
      for (let colour = 0; colour < 3; colour++) {
        let sum = FRACTION / 2;
        for (let k = 0; k < own.length; k++) sum += points[source + 3 * k + colour]! * own[k]!;
        made[3 * (y * width + x) + colour] = rounded(sum);
      }
    }
  }
  return { width, height, points: made };
}

function alongColumns({ width, height: before, points }: Picture, height: number, filter: Filter): Picture {
  const { first, weights } = sourcesOf(before, height, filter);
  const row = 3 * width;
  const made = new Uint8Array(row * height);
  for (let y = 0; y < height; y++) {
    const own = weights[y]!;
    for (let place = 0; place < row; place++) {
      let sum = FRACTION / 2;
      for (let k = 0; k < own.length; k++) sum += points[row * (first[y]! + k) + place]! * own[k]!;
      made[row * y + place] = rounded(sum);
    }
  }
  return { width, height, points: made };
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
