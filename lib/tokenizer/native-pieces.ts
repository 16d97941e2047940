import type { Encoding, Tokenizer as NativeTokenizer, TruncationOptions } from 'tokenizers';
import { GradCacheError } from '../errors.js';
import { succeeds } from '../files/file-error.js';
import { requireString, show } from '../options/option-values.js';
import { textRefused } from './text-refusal.js';
import type { TextPair } from './token-batch.js';

/**
 * The texts of one call into the native tokenizer. Its results come back as JavaScript arrays on the event loop, about
 * 0.2 microseconds a token, so that this keeps each conversion to a few milliseconds.
 */
const MAX_PIECE_TEXTS = 256;
const MAX_PIECE_CHARACTERS = 32_768;

/** What is encoded as one sequence of tokens. */
export type Input = string | TextPair;

/** How texts alone and pairs differ. */
export interface InputKind {
  readonly paired: boolean;
  /** Special tokens of one. */
  readonly special: number;
  /** Whether the types of tokens are gathered. */
  readonly typed: boolean;
  /** Whether the native tokenizer gives all tokens, however long a text is. */
  readonly whole: boolean;
}

/** What takes encodings in the order of the texts. */
export interface Collector<T> {
  add(encoding: Encoding): void;
  addPair(encoding: Encoding): void;
  finish(): T;
}

const charactersOf = (text: Input): number =>
  typeof text === 'string' ? text.length : text[0].length + text[1].length;

/** How texts go through the native tokenizer: in pieces, on its threads, while the piece before is converted here. */
export class NativePieces {
  readonly #native: NativeTokenizer;
  readonly #side: 'left' | 'right';
  readonly #longestText: number;
  /** The limit that the native tokenizer has now. */
  #limit: number | undefined;

  /** @param longestText in UTF-16 units */
  constructor(native: NativeTokenizer, side: 'left' | 'right', longestText: number) {
    this.#native = native;
    this.#side = side;
    this.#longestText = longestText;
  }

  /**
   * Gives a collector the encodings of all texts. One call at a time.
   *
   * @throws GradCacheError `INPUT`, `CHECKPOINT`
   */
  async collect<T>(
    texts: readonly Input[],
    { maxLength, prefix = '' }: { readonly maxLength: number; readonly prefix?: string | undefined },
    kind: InputKind,
    collected: Collector<T>,
  ): Promise<T> {
    requireString('prefix', prefix);
    this.#requireLength(texts, prefix);
    this.#setMaxLength(maxLength, kind);
    let pending = this.#start(texts, 0, prefix);
    while (pending !== undefined) {
      const { begin, end } = pending;
      const encodings = await pending.encodings.catch(async (error: unknown) => {
        throw await this.#failedText(texts, begin, end, prefix, error);
      });
      // The next piece is on its threads while this one is converted here.
      const next = this.#start(texts, end, prefix);
      next?.encodings.catch(() => undefined);
      for (const encoding of encodings)
        if (kind.paired) collected.addPair(encoding);
        else collected.add(encoding);
      pending = next;
    }
    return collected.finish();
  }

  /**
   * The encodings of the next texts, at their full length. One call at a time.
   *
   * @throws GradCacheError `INPUT`, `CHECKPOINT`
   */
  async next(
    texts: readonly Input[],
    begin: number,
    { maxLength, prefix = '' }: { readonly maxLength: number; readonly prefix?: string | undefined },
    kind: InputKind,
  ): Promise<Encoding[]> {
    if (begin === 0) this.#requireLength(texts, prefix);
    this.#setMaxLength(maxLength, { ...kind, whole: true });
    const started = this.#start(texts, begin, prefix);
    if (started === undefined) return [];
    return started.encodings.catch(async (error: unknown) => {
      throw await this.#failedText(texts, begin, started.end, prefix, error);
    });
  }

  #start(texts: readonly Input[], begin: number, prefix: string) {
    if (begin >= texts.length) return undefined;
    let characters = 0;
    let end = begin;
    while (end < texts.length && end - begin < MAX_PIECE_TEXTS) {
      const length = charactersOf(texts[end]!) + prefix.length;
      if (end > begin && characters + length > MAX_PIECE_CHARACTERS) break;
      characters += length;
      end++;
    }
    return { encodings: this.#encodings(texts.slice(begin, end), prefix), begin, end };
  }

  /** The package takes a list of texts, but pairs one by one. */
  #encodings(piece: readonly Input[], prefix: string) {
    const texts = piece.flatMap((text) => (typeof text === 'string' ? [prefix + text] : []));
    return texts.length === piece.length
      ? this.#native.encodeBatch(texts)
      : Promise.all(piece.map((text) => this.#encodeOne(text, prefix)));
  }

  #encodeOne(text: Input, prefix: string) {
    return typeof text === 'string'
      ? this.#native.encode(prefix + text)
      : this.#native.encode(prefix + text[0], text[1]);
  }

  #requireLength(texts: readonly Input[], prefix: string): void {
    const long = texts.findIndex((text) => prefix.length + charactersOf(text) > this.#longestText);
    if (long < 0) return;
    throw textRefused({
      code: 'INPUT',
      index: long,
      text: texts[long]!,
      problem:
        `has ${charactersOf(texts[long]!)} characters; a tokenizer with patterns of its own takes up to ` +
        `${this.#longestText}. Cut the text before it is encoded: maxLength cuts tokens, once the patterns have met the whole text.`,
    });
  }

  /** The library does not say which text it refused. */
  async #failedText(
    texts: readonly Input[],
    begin: number,
    end: number,
    prefix: string,
    error: unknown,
  ): Promise<GradCacheError> {
    let index = begin;
    for (; index < end - 1; index++) {
      if (!(await succeeds(this.#encodeOne(texts[index]!, prefix)))) break;
    }
    return textRefused({
      code: 'CHECKPOINT',
      index,
      text: texts[index]!,
      problem:
        `cannot be taken by the tokenizer: ${(error as Error).message}. Its vocabulary lacks a token that its ` +
        'settings name.',
      cause: error,
    });
  }

  #setMaxLength(maxLength: number, { paired, special, whole }: InputKind): void {
    const least = special + (paired ? 2 : 1);
    if (!Number.isSafeInteger(maxLength) || maxLength < least || maxLength >= 0x7fffffff) {
      throw new GradCacheError(
        'INPUT',
        `maxLength is ${show(maxLength)}; a whole number from ${least} is needed ` +
          `(${special} special tokens and at least one of ${paired ? 'each text' : 'the text'}).`,
      );
    }
    // Pairs are cut here. Of a text without special tokens the package does not say that it was cut: it leaves one token too
    // many, which is cut here too.
    const limit = whole ? Infinity : special === 0 ? maxLength + 1 : maxLength;
    if (limit === this.#limit) return;
    this.#limit = limit;
    if (whole) {
      this.#native.disableTruncation();
      return;
    }
    // The package declares its enums as const enums, which isolated modules cannot read: these are their values.
    const options = {
      direction: this.#side,
      strategy: 'LongestFirst',
      stride: 0,
    } as TruncationOptions;
    this.#native.setTruncation(limit, options);
  }
}
