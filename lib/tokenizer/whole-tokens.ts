import { isJsonObject } from '../files/strict-json.js';
import type { Tokenizer } from './tokenizer.js';

const CONFIG = 'tokenizer_config.json';

/**
 * The tokenizer with the words at the beginning of prefixes as tokens that are never split, as sentence-transformers makes
 * them for the prefixes of older models of late interaction. A prefix that is no token, and whose first word is none, stays
 * words like any other.
 */
export async function withWhole(tokenizer: Tokenizer, prefixes: readonly string[]): Promise<Tokenizer> {
  const split = new Map<string, number>();
  for (const prefix of prefixes) {
    const word = [prefix, /\S+/.exec(prefix)?.[0] ?? ''].find(
      (each) => each.trim() !== '' && tokenizer.tokenToId(each) !== null,
    );
    if (word === undefined) continue;
    const id = tokenizer.tokenToId(word)!;
    const special = tokenizer.specialTokensPerText;
    const { ids } = await tokenizer.encode([word], { maxLength: special + 64 });
    if (ids.length !== special + 1 || !ids.includes(id)) split.set(word, id);
  }
  if (split.size === 0) return tokenizer;
  const parsed = JSON.parse(tokenizer.json) as Record<string, unknown>;
  const listed: unknown[] = Array.isArray(parsed.added_tokens) ? parsed.added_tokens : [];
  const others = listed.filter((token) => !(isJsonObject(token) && split.has(token.content as string)));
  const added = [...others, ...Array.from(split, ([content, id]) => ({ id, content, ...WHOLE }))];
  const companions = new Map(tokenizer.companions);
  const bytes = companions.get(CONFIG);
  if (bytes !== undefined) {
    // Where it lists tokens, no other list is read.
    const config = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    const decoder = config.added_tokens_decoder;
    if (isJsonObject(decoder)) {
      const own = Array.from(split, ([content, id]) => [id, { content, ...WHOLE }] as const);
      config.added_tokens_decoder = { ...decoder, ...Object.fromEntries(own) };
      companions.set(CONFIG, new TextEncoder().encode(`${JSON.stringify(config, null, 2)}\n`));
    }
  }
  const json = JSON.stringify({ ...parsed, added_tokens: added.sort((a, b) => idOf(a) - idOf(b)) });
  return tokenizer.withFiles(json, companions);
}

/** What makes a token whole, and found before the text is lower-cased. */
const WHOLE = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };

const idOf = (token: unknown): number => (isJsonObject(token) ? Number(token.id) : 0);
