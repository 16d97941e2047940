import { isJsonObject } from '../files/strict-json.js';
import { type Role, SPELLINGS } from './stated-tokens.js';
import type { BuiltTokenizer } from './tokenizer-classes.js';
import type { TokenizerFiles } from './tokenizer-files.js';
import type { AddedToken } from './tokenizer-settings.js';

/** How transformers fills texts up to one length. Nothing is filled up here but queries that are expanded. */
export interface Filling {
  /** The end of a text that is filled up. */
  readonly side: 'left' | 'right';
  /** What queries are expanded with: the mask token, or the token that ends a text where there is none; null without either. */
  readonly token: string | null;
}

/**
 * @param parsed the content of tokenizer.json
 * @param addedTokens the tokens that are never split. Where no file states a token's role, it is told by its spelling, as it
 * will be once the tokenizer is saved
 */
export function fillingOf(
  parsed: Readonly<Record<string, unknown>>,
  { config }: TokenizerFiles,
  { roles }: BuiltTokenizer,
  addedTokens: readonly AddedToken[],
): Filling {
  const special = addedTokens.filter((token) => token.special).map(({ content }) => content);
  const tokenOf = (role: Role): string | undefined =>
    roles.get(role)?.content ??
    (config === undefined ? SPELLINGS[role].find((each) => special.includes(each)) : undefined);
  const inJson = isJsonObject(parsed.padding) ? parsed.padding.direction : undefined;
  const left = config?.padding_side === undefined ? inJson === 'Left' : config.padding_side === 'left';
  return { side: left ? 'left' : 'right', token: tokenOf('mask_token') ?? tokenOf('eos_token') ?? null };
}
