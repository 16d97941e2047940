import { refusedIn } from '../files/file-fault.js';
import { isNumber } from '../options/option-values.js';

/** As many as no vocabulary has: a mistyped number must not ask for memory. */
const MOST = 100_000;

/**
 * T5's tokens for what is left out of a text, `<extra_id_0>` and so on.
 *
 * @param count `extra_ids` of tokenizer_config.json
 * @throws GradCacheError `CHECKPOINT` for what is no count
 */
export function sentinels(count: unknown = 100): string[] {
  if (!isNumber(count, { from: 0, to: MOST, whole: true }))
    throw refusedIn('tokenizer_config.json', 'extra_ids', count, `a whole number from 0 to ${MOST}`);
  return Array.from({ length: count }, (_, k) => `<extra_id_${k}>`);
}

/**
 * The additional tokens of T5's class: those that are stated, with all of its own or none.
 *
 * @throws GradCacheError `CHECKPOINT` where another number of its own is stated than `extra_ids`
 */
export function withSentinels(stated: readonly unknown[] | undefined, count: unknown): readonly unknown[] {
  const own = sentinels(count);
  if (stated === undefined) return own;
  const listed = stated.filter((token) => textOf(token).includes('<extra_id_')).length;
  if (listed === 0) return [...stated, ...own];
  if (own.length > 0 && own.length !== listed)
    throw refusedIn(
      'tokenizer_config.json',
      'extra_ids',
      own.length,
      `${listed}, as many as additional_special_tokens has,`,
    );
  return stated;
}

function textOf(token: unknown): string {
  if (typeof token === 'string') return token;
  return typeof token === 'object' && token !== null && 'content' in token ? String(token.content) : '';
}
