import { SPELLINGS } from './stated-tokens.js';
import type { Tokenizer } from './tokenizer.js';
import { PLAIN_CLASS } from './tokenizer-classes.js';

/**
 * The tokenizer_config.json with which transformers reads a saved tokenizer as it was read here, or undefined where the
 * file that the tokenizer came with does that already.
 */
export function tokenizerConfigToSave(
  tokenizer: Tokenizer,
  maxLength: number,
): Record<string, unknown> | undefined {
  const bytes = tokenizer.companions.get('tokenizer_config.json');
  const { tokenizerClass, truncationSide } = tokenizer;
  if (bytes === undefined) {
    const config: Record<string, unknown> = { tokenizer_class: tokenizerClass, model_max_length: maxLength };
    if (tokenizerClass === PLAIN_CLASS) {
      const special = tokenizer.addedTokens.filter((token) => token.special).map((token) => token.content);
      for (const [role, spellings] of Object.entries(SPELLINGS)) {
        const token = spellings.find((spelling) => special.includes(spelling));
        if (token !== undefined) config[role] = token;
      }
    }
    if (truncationSide === 'left') config.truncation_side = truncationSide;
    return config;
  }
  const stated = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
  const asked = tokenizer.settings.truncationSide;
  const complete = {
    ...stated,
    tokenizer_class: tokenizerClass,
    ...(asked !== undefined && { truncation_side: asked }),
  };
  const same = Object.entries(complete).every(([key, value]) => stated[key] === value);
  return same ? undefined : complete;
}
