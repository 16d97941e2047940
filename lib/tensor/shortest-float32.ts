const POWERS = Array.from({ length: 13 }, (_, power) => 10 ** power);
const ZEROS = ['', '0', '00', '000'];

/** The shortest decimal number that is read back as the same float32. */
export function shortestFloat32(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e-4 && size < 10) return shortestOfUsual(size, value < 0);
  for (let digits = 6; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return String(short);
  }
  return String(Number(value.toPrecision(9)));
}

/**
 * Of a number from 0.0001 to 10, as representations hold them: arithmetic does what text would take ten times as long for. Products with
 * these powers of ten are exact, as 24 bits and the 28 of 5^12 fit a double, and a quotient is the double nearest to the decimal.
 */
function shortestOfUsual(size: number, negative: boolean): string {
  const before = size >= 1 ? 1 : size >= 0.1 ? 0 : size >= 0.01 ? -1 : size >= 0.001 ? -2 : -3;
  let [whole, places] = [0, 0];
  // Nine digits are enough for any float32.
  for (let digits = 6; digits <= 9; digits++) {
    places = digits - before;
    whole = Math.round(size * POWERS[places]!);
    if (Math.fround(whole / POWERS[places]!) === size) break;
  }
  while (places > 0 && whole % 10 === 0) {
    whole /= 10;
    places--;
  }
  const sign = negative ? '-' : '';
  const digits = String(whole | 0); // of at most ten digits, below 2^31
  const point = digits.length - places;
  if (places === 0) return sign + digits;
  return point > 0
    ? `${sign}${digits.slice(0, point)}.${digits.slice(point)}`
    : `${sign}0.${ZEROS[-point]!}${digits}`;
}

/** All of some numbers, with commas between them. */
export function joinedFloat32(values: Float32Array): string {
  let text = values.length === 0 ? '' : shortestFloat32(values[0]!);
  for (let place = 1; place < values.length; place++) text += `,${shortestFloat32(values[place]!)}`;
  return text;
}
