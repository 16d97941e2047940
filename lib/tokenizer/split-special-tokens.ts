import { faultIn } from '../files/file-fault.js';
import { isJsonObject } from '../files/strict-json.js';
import type { StatedToken } from './stated-tokens.js';
import type { BuiltTokenizer } from './tokenizer-classes.js';

/**
 * A tokenizer that splits special tokens in a text as any other words (`split_special_tokens` of tokenizer_config.json). Those
 * around a text stay.
 *
 * @throws GradCacheError `CHECKPOINT` for an added token that is not in the model's own vocabulary: without it, others had its id
 */
export function splitSpecialTokens(built: BuiltTokenizer): BuiltTokenizer {
  const { parsed, added } = built;
  const listed = Array.isArray(parsed.added_tokens) ? (parsed.added_tokens as StatedToken[]) : [];
  const words = vocabularyOf(parsed.model);
  const other = [...listed, ...added].find(({ content }) => !words.has(content));
  if (other !== undefined)
    throw faultIn(
      'tokenizer_config.json',
      `split_special_tokens is true, which is supported where all added tokens are in the model's own vocabulary, and ` +
        `${JSON.stringify(other.content)} is not: set it to false`,
    );
  return {
    ...built,
    parsed: { ...parsed, added_tokens: listed.filter(({ special }) => !special) },
    added: added.filter(({ special }) => !special),
  };
}

function vocabularyOf(model: unknown): ReadonlySet<unknown> {
  const vocabulary = isJsonObject(model) ? model.vocab : undefined;
  if (Array.isArray(vocabulary))
    return new Set(
      vocabulary.map((entry: unknown) => (Array.isArray(entry) ? (entry[0] as unknown) : entry)),
    );
  return new Set(isJsonObject(vocabulary) ? Object.keys(vocabulary) : []);
}
