import { longestReplacement } from './precompiled-map.js';
import { requireBoundedPattern } from './regex-cost.js';
import type { StatedToken } from './stated-tokens.js';
import { isJsonObject } from '../files/strict-json.js';
import { refusedTokenizer } from './tokenizer-refusal.js';

type JsonObject = Readonly<Record<string, unknown>>;

/** The most by which the steps of a tokenizer may lengthen a text. */
const MOST_GROWTH = 1000;

/**
 * Refuses a tokenizer.json on which the tokenizers library would end the process instead of throwing an error, at once
 * or at some text. The library itself refuses all else.
 *
 * @returns whether it runs regular expressions of its own, which must not meet texts that are too long
 * @throws GradCacheError `CHECKPOINT` that says what is wrong
 */
export function refuseWhatAborts(parsed: JsonObject): { patterns: boolean } {
  checkMerges(parsed.model);
  checkEnds(parsed.post_processor);
  const steps = [...stepsOf(parsed.normalizer), ...stepsOf(parsed.pre_tokenizer)];
  const growth = steps.reduce((product, step) => product * growthOf(step), 1);
  if (growth > MOST_GROWTH)
    throw refusedTokenizer(
      `its normalizers lengthen a text up to ${growth} times`,
      `Leave out normalizers: ${MOST_GROWTH} times is the most`,
    );
  return { patterns: steps.some((step) => patternOf(step) !== undefined) };
}

/**
 * Refuses added tokens on which the library would end the process: one that the normalizer makes empty, and one that is
 * nothing but spaces and takes those before it, beside one that takes the spaces after it.
 *
 * @param normalize the normalizer of the tokenizer
 * @throws GradCacheError `CHECKPOINT` that names the token
 */
export function refuseTokensThatAbort(
  tokens: readonly StatedToken[],
  normalize: (text: string) => string,
): void {
  const looked = tokens
    .filter(({ content }) => content !== '') // the library leaves those out
    .map((token) => ({ ...token, found: token.normalized ? normalize(token.content) : token.content }));
  for (const { content, found } of looked) {
    if (found === '')
      throw refusedTokenizer(
        `its added token ${JSON.stringify(content)} is empty once it is normalized`,
        'Set normalized of the token to false',
      );
  }
  const blank = looked.find(({ lstrip, found }) => lstrip && /^[\s\u0085]*$/.test(found));
  if (blank !== undefined && looked.some(({ rstrip }) => rstrip)) {
    throw refusedTokenizer(
      `its added token ${JSON.stringify(blank.content)} takes the spaces before it, and another those after it`,
      'Set lstrip of the one or rstrip of the other to false',
    );
  }
}

/** A merge is made by cutting the prefix off its second token, unseen, into room for the longest token. */
function checkMerges(model: unknown): void {
  if (!isJsonObject(model) || !Array.isArray(model.merges) || !isJsonObject(model.vocab)) return;
  const { vocab, continuing_subword_prefix: stated } = model;
  const prefix = typeof stated === 'string' ? stated : '';
  for (const merge of model.merges as unknown[]) {
    const pair: unknown[] = typeof merge === 'string' ? merge.split(' ') : Array.isArray(merge) ? merge : [];
    const [left, right, more] = pair;
    if (typeof left !== 'string' || typeof right !== 'string' || more !== undefined) continue;
    if (!Object.hasOwn(vocab, left) || !Object.hasOwn(vocab, right)) continue;
    if (!right.startsWith(prefix) || !Object.hasOwn(vocab, left + right.slice(prefix.length))) {
      throw refusedTokenizer(
        `the merge of ${JSON.stringify(left)} and ${JSON.stringify(right)} gives no token of the vocabulary` +
          (prefix === '' ? '' : ` (continuing_subword_prefix is ${JSON.stringify(prefix)})`),
        'Take the merges and the vocabulary of one file',
      );
    }
  }
}

function checkEnds(processor: unknown): void {
  if (!isJsonObject(processor)) return;
  if (Array.isArray(processor.processors)) {
    const processors: unknown[] = processor.processors;
    for (const each of processors) checkEnds(each);
    // Anything else gives the next one several parts, where a template takes one.
    const adding = processors.filter((each) => !isJsonObject(each) || each.type !== 'ByteLevel');
    if (adding.length > 1)
      throw refusedTokenizer(
        'its post_processor is a sequence of more than one that adds tokens',
        'Put all of them into one template',
      );
    return;
  }
  if (!Array.isArray(processor.single)) return;
  const known = isJsonObject(processor.special_tokens) ? processor.special_tokens : {};
  let texts = 0;
  for (const piece of processor.single as unknown[]) {
    if (!isJsonObject(piece)) continue;
    if (isJsonObject(piece.Sequence)) {
      texts++;
      if (piece.Sequence.id !== 'A')
        throw refusedTokenizer(
          'the single template of its post_processor has a second text',
          'Texts are encoded one by one: name $A alone',
        );
    }
    const special = isJsonObject(piece.SpecialToken) ? piece.SpecialToken.id : undefined;
    if (typeof special === 'string' && !Object.hasOwn(known, special)) {
      throw refusedTokenizer(
        `the single template of its post_processor names ${JSON.stringify(special)}, which its special_tokens do not list`,
        'List it there with its id',
      );
    }
  }
  if (texts !== 1)
    throw refusedTokenizer(
      `the single template of its post_processor has the text ${texts} times`,
      'Name $A once',
    );
}

/** Normalizers or pre-tokenizers in the order of their work. */
function stepsOf(step: unknown): JsonObject[] {
  if (!isJsonObject(step)) return [];
  const inner = [step.normalizers, step.pretokenizers].flat();
  return [step, ...inner.flatMap(stepsOf)];
}

function patternOf(step: JsonObject): string | undefined {
  const regex = isJsonObject(step.pattern) ? step.pattern.Regex : undefined;
  return typeof regex === 'string' ? regex : undefined;
}

/** By how much a step can lengthen a text, in characters, and whether it is safe at all. */
function growthOf(step: JsonObject): number {
  const pattern = patternOf(step);
  const empty = pattern !== undefined && requireBoundedPattern(pattern).empty;
  if (step.length === 0)
    throw refusedTokenizer('its pre-tokenizer cuts texts into pieces of length 0', 'Give it a length from 1');
  if (step.precompiled_charsmap !== undefined || step.type === 'Precompiled')
    return Math.max(1, longestReplacement(step.precompiled_charsmap));
  if (typeof step.content === 'string') {
    const content = charactersOf(step.content);
    const replaced = isJsonObject(step.pattern) ? step.pattern.String : undefined;
    if (empty || replaced === '')
      throw refusedTokenizer(
        'its normalizer replaces the empty text',
        'Give it a pattern that matches a character at least',
      );
    // A pattern takes one character at least.
    return Math.max(1, content / (typeof replaced === 'string' ? charactersOf(replaced) : 1));
  }
  // It makes a character of each byte.
  return step.type === 'ByteLevel' ? 4 : 1;
}

function charactersOf(text: string): number {
  return Array.from(text).length;
}
