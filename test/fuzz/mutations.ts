/** Changes to good inputs: most of them stay close to what a reader expects, so that its later parts are reached too. */
import type { Random } from './random-arguments.js';
import { badPatterns, patterns } from './tokenizer-gallery.js';

export type Json = unknown;

/** An object whose members hide those that every object has: to write it as text fails. */
const HIDING = { toString: 1, valueOf: 1, toJSON: 1, constructor: 1, hasOwnProperty: 1, then: 1, length: 9 };

const SCALARS: readonly Json[] = [
  ...[
    null,
    true,
    false,
    0,
    1,
    -1,
    0.5,
    1e9,
    2 ** 32,
    1e300,
    '',
    'a',
    ' ',
    '▁',
    '[CLS]',
    '<s>',
    '\ud800',
    '\u0000',
  ],
  ...[HIDING, [], {}, [[]], [null], { type: 'Sequence' }, 'Left', 'Regex', ...patterns, ...badPatterns],
];
const written = (json: Json): string => (typeof json === 'string' ? json : JSON.stringify(json));

/** A random place in a value, but seldom in its vocabulary: the object or list, and the key there. */
function placeIn(value: Json, random: Random): [holder: Record<string, Json>, key: string] | undefined {
  let holder = value as Record<string, Json>;
  for (;;) {
    const keys = Object.keys(holder).filter((key) => !/^(vocab|merges)$/.test(key) || random.next() < 0.1);
    if (keys.length === 0) return undefined;
    const key = random.pick(keys);
    const next = holder[key];
    if (typeof next !== 'object' || next === null || Object.keys(next).length === 0 || random.next() < 0.25)
      return [holder, key];
    holder = next as Record<string, Json>;
  }
}

export function mutateJson(value: Json, random: Random): void {
  const place = placeIn(value, random);
  if (place === undefined) return;
  const [holder, key] = place;
  const old = holder[key];
  const other = placeIn(value, random);
  const way = random.below(6);
  if (way === 0) {
    if (Array.isArray(holder)) holder.splice(Number(key), 1);
    else delete holder[key];
  } else if (way === 1 && Array.isArray(old)) {
    old.push(structuredClone(old[0]));
  } else if (way === 2 && other !== undefined) {
    holder[key] = structuredClone(other[0][other[1]]);
  } else if (typeof old === 'boolean') {
    holder[key] = !old;
  } else if (typeof old === 'number') {
    holder[key] = old + random.pick([1, -1, 1000]);
  } else if (typeof old === 'string' && random.next() < 0.5) {
    const at = random.below(old.length + 1);
    holder[key] = old.slice(0, at) + written(random.pick(SCALARS)) + old.slice(at + random.below(2));
  } else {
    holder[key] = structuredClone(random.pick(SCALARS));
  }
}

const ODD_TEXT = [
  '',
  '"',
  '""',
  ',',
  '\t',
  '\n',
  '\r',
  '\r\n',
  '\\',
  '{',
  '}',
  '[',
  ']',
  ':',
  '0',
  '-1',
  'null',
];
const ODD_NUMBERS = ['1e999', '9007199254740993', '-0', '0.5', '4294967296', '1e308'];
const ODD_LETTERS = ['\u0000', '\ufeff', '\u2028', '\ud800', '\ufffd', '😀', '\u00e9', '\\ud800', '\\u0000'];
const DEEP = ['['.repeat(6000), '{"a":'.repeat(6000), `${'['.repeat(6000)}${']'.repeat(6000)}`];
const INSERTED = [...ODD_TEXT, ...ODD_NUMBERS, ...ODD_LETTERS, ...DEEP];

/** One to four places of a text are replaced, repeated or cut out. */
export function mutateText(text: string, random: Random): string {
  let result = text;
  for (let count = 1 + random.below(1 + random.below(4)); count > 0; count--) {
    const at = random.below(result.length + 1);
    const to = random.next() < 0.8 ? at + random.below(3) : at + random.below(result.length - at + 1);
    const middle = random.pick<() => string>([
      () => random.pick(INSERTED),
      () => random.pick(INSERTED),
      () => '',
      () => result.slice(at, at + 30).repeat(2),
    ])();
    result = result.slice(0, at) + middle + result.slice(to);
  }
  return result;
}

/** One to four places of a file are overwritten, repeated or cut out; now and then it ends early. */
export function mutateBytes(bytes: Buffer, random: Random): Buffer {
  let result: Buffer = bytes;
  for (let count = 1 + random.below(1 + random.below(4)); count > 0; count--) {
    const at = random.below(result.length + 1);
    const piece = result.subarray(at, at + 1 + random.below(8));
    result = random.pick<() => Buffer>([
      () => spliced(result, at, 1, Buffer.of(random.below(256))),
      () => spliced(result, at, 1, Buffer.of(random.pick([0, 1, 0x7f, 0x80, 0xff]))),
      () => spliced(result, at, 1, Buffer.of((result[at] ?? 0) ^ (1 << random.below(8)))),
      () =>
        spliced(
          result,
          at,
          4,
          Buffer.from(random.pick(['ffffffff', 'ffffff7f', '00000080', '00000000']), 'hex'),
        ),
      () => spliced(result, at, piece.length, Buffer.alloc(0)),
      () => spliced(result, at, 0, piece),
      () => (random.next() < 0.3 ? result.subarray(0, at) : result),
    ])();
  }
  return result;
}

function spliced(bytes: Buffer, at: number, length: number, piece: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at + length)]);
}
