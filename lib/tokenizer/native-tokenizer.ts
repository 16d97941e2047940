import type { StatedToken } from './stated-tokens.js';
import { refuseTokensThatAbort } from './tokenizer-aborts.js';
import { asListed, type BuiltTokenizer } from './tokenizer-classes.js';
import type { AddedToken } from './tokenizer-settings.js';
import { refusedTokenizer } from './tokenizer-refusal.js';
import {
  AddedToken as NativeToken,
  bertProcessing,
  robertaProcessing,
  templateProcessing,
  Tokenizer as NativeTokenizer,
} from './tokenizers-package.js';

/**
 * Opens a tokenizer in the tokenizers library, without the padding and the length limit that it may state.
 *
 * @param parsed the content of a tokenizer.json. It is written anew for the library, since of a key that is in the file twice
 * two readers may take different values
 * @throws an error of the library, for what it does not take
 */
export function openNative(
  parsed: Readonly<Record<string, unknown>>,
  { added, ends }: BuiltTokenizer,
): NativeTokenizer {
  const native = NativeTokenizer.fromString(JSON.stringify(parsed));
  const tokens = added.map((token) => {
    const { content, special, single_word, lstrip, rstrip, normalized } = asListed(token);
    const options = { singleWord: single_word, leftStrip: lstrip, rightStrip: rstrip, normalized };
    return new NativeToken(content, special, options);
  });
  if (tokens.length > 0) native.addAddedTokens(tokens);
  const normalizer = native.getNormalizer();
  refuseTokensThatAbort([...listedTokens(parsed), ...added.map(asListed)], (text) =>
    normalizer === null ? text : normalizer.normalizeString(text),
  );
  if (ends !== null) {
    const numbered = (token: string): [string, number] => {
      const id = native.tokenToId(token);
      if (id === null)
        throw refusedTokenizer(
          `its vocabulary has no ${JSON.stringify(token)}`,
          'tokenizer_config.json names it: add the token, or name another',
        );
      return [token, id];
    };
    const last = numbered(ends.last);
    if (ends.first === null) {
      // The name in a template is free; that of a token might not be read as one.
      native.setPostProcessor(templateProcessing('$A </s>', '$A </s> $B </s>', [['</s>', last[1]]]));
    } else {
      const first = numbered(ends.first);
      native.setPostProcessor(
        ends.between === 'one' ? bertProcessing(last, first) : robertaProcessing(last, first),
      );
    }
  }
  native.disablePadding();
  native.disableTruncation();
  return native;
}

/** The tokens that are never split, with the ids that the library gave them. */
export function addedTokensOf(native: NativeTokenizer, { parsed, added }: BuiltTokenizer): AddedToken[] {
  const tokens = new Map<string, AddedToken>();
  for (const { content, special } of [...listedTokens(parsed), ...added]) {
    const id = native.tokenToId(content);
    if (id !== null) tokens.set(content, { id, content, special });
  }
  return [...tokens.values()];
}

/** The `added_tokens` of a tokenizer.json that the library has opened, so that they are what they should be. */
function listedTokens(parsed: Readonly<Record<string, unknown>>): StatedToken[] {
  return Array.isArray(parsed.added_tokens) ? (parsed.added_tokens as StatedToken[]) : [];
}
