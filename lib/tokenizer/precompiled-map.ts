import { refusedTokenizer } from './tokenizer-refusal.js';

/**
 * The map of a `Precompiled` normalizer, as sentencepiece writes it: the size of a trie in bytes, the trie as a double
 * array of 32-bit units, and replacements that each end with a zero byte. The tokenizers library follows it without
 * looking at bounds, and a damaged one ends the process; so it is walked here first, over every place that a text can
 * lead to.
 *
 * @param map in base64
 * @returns the number of bytes of the longest replacement
 * @throws GradCacheError `CHECKPOINT` that says what is wrong with it
 */
export function longestReplacement(map: unknown): number {
  if (typeof map !== 'string') throw damaged('its precompiled_charsmap is not a string');
  const bytes = Buffer.from(map, 'base64');
  if (bytes.toString('base64') !== map) throw damaged('its precompiled_charsmap is not base64');
  const size = bytes.length < 4 ? Infinity : bytes.readUInt32LE(0);
  const count = Math.floor(size / 4);
  if (4 + 4 * count > bytes.length) throw damaged('its precompiled_charsmap is cut off');
  const units = new Uint32Array(count);
  for (let i = 0; i < count; i++) units[i] = bytes.readUInt32LE(4 + 4 * i);
  const replacements = bytes.subarray(4 + 4 * count);
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(replacements);
  } catch (error) {
    throw damaged('the replacements of its precompiled_charsmap are not UTF-8', { cause: error });
  }
  return walk(units, replacements);
}

const LABEL = 0x800000ff;

function walk(units: Uint32Array, replacements: Uint8Array): number {
  const at = (place: number): number => {
    const unit = units[place];
    if (unit === undefined) throw damaged('its precompiled_charsmap leads out of itself');
    return unit;
  };
  // A unit says how its place differs from that of its children; a child's place then differs by the byte that leads there.
  const childrenOf = (place: number, unit: number) => place ^ ((unit >>> 10) << ((unit & 0x200) >>> 6));
  const start = childrenOf(0, at(0));
  const seen = new Set([start]);
  const open = [start];
  let longest = 0;
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    for (let byte = 1; byte < 256; byte++) {
      const place = node ^ byte;
      const unit = at(place);
      if ((unit & LABEL) >>> 0 !== byte) continue;
      const next = childrenOf(place, unit);
      if (unit & 0x100) longest = Math.max(longest, replacementAt(at(next) & 0x7fffffff, replacements));
      if (seen.has(next)) continue;
      seen.add(next);
      open.push(next);
    }
  }
  return longest;
}

function replacementAt(start: number, replacements: Uint8Array): number {
  const insideCharacter = start < replacements.length && (replacements[start]! & 0xc0) === 0x80;
  if (start > replacements.length || insideCharacter)
    throw damaged('its precompiled_charsmap leads to no replacement');
  const end = replacements.indexOf(0, start);
  return (end < 0 ? replacements.length : end) - start;
}

function damaged(what: string, options?: ErrorOptions): Error {
  return refusedTokenizer(
    what,
    'The map is damaged: fetch tokenizer.json again, or save the tokenizer anew',
    options,
  );
}
