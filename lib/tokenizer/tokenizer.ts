import { inspect, types } from 'node:util';
import type { Tokenizer as NativeTokenizer } from 'tokenizers';
import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import {
  refused,
  requireNumber,
  requireString,
  requireTextPairs,
  requireTexts,
} from '../options/option-values.js';
import { placeholderIn } from '../files/placeholder.js';
import { type Input, type InputKind, NativePieces } from './native-pieces.js';
import { addedTokensOf, openNative } from './native-tokenizer.js';
import { LONGEST_FOR_PATTERNS } from './regex-cost.js';
import { type Filling, fillingOf } from './filling.js';
import { isJsonObject } from '../files/strict-json.js';
import { splitSpecialTokens } from './split-special-tokens.js';
import { type TextPair, type TokenBatch, TokenCollector } from './token-batch.js';
import { readTokenizer } from './read-tokenizer.js';
import { type WindowBatch, WindowCollector } from './token-windows.js';
import { bareTokenizer, buildTokenizer } from './tokenizer-classes.js';
import { parseTokenizerFiles } from './tokenizer-files.js';
import { unusable } from './tokenizer-refusal.js';
import { refuseWhatAborts } from './tokenizer-aborts.js';
import { classIn, statedTruncationSide, vocabularySizeOf, withLowercase } from './tokenizer-settings.js';
import type { AddedToken, TokenizerSettings } from './tokenizer-settings.js';

export type { Filling } from './filling.js';
export type { TextPair, TokenBatch } from './token-batch.js';
export type { WindowBatch } from './token-windows.js';
export type { AddedToken, TokenizerSettings } from './tokenizer-settings.js';

/** How {@link Tokenizer.encode} turns texts into ids. */
export interface EncodeOptions {
  /** The most tokens that a text may have, special tokens included; longer texts are cut and counted. */
  readonly maxLength: number;
  /** Put in front of every text, e.g. `'query: '`. */
  readonly prefix?: string;
}

/** Only this module has it: `private` of TypeScript does not keep a program in JavaScript from calling a constructor. */
const OWN = Symbol('Tokenizer');

/**
 * A Hugging Face tokenizer, read from a tokenizer.json. Tokenisation runs on threads of the native `tokenizers`
 * package, not on the event loop. Calls that overlap are worked off one after the other.
 *
 * @example
 * ```ts
 * const tokenizer = await Tokenizer.fromFile('all-MiniLM-L6-v2/tokenizer.json');
 * const model = TextEncoder.create({ model_type: 'bert', vocab_size: tokenizer.vocabularySize }, tokenizer);
 * ```
 */
export class Tokenizer {
  /** One more than the largest token id: the rows that an embedding table needs. */
  readonly vocabularySize: number;
  /** How many special tokens are put around every text. */
  readonly specialTokensPerText: number;
  /** How many special tokens are put around and between the two texts of a pair. */
  readonly specialTokensPerPair: number;
  /** Content of tokenizer.json, byte for byte as read. */
  readonly json: string;
  /** The tokens that are never split. */
  readonly addedTokens: readonly AddedToken[];
  /** The class of transformers that the tokenizer is read as. */
  readonly tokenizerClass: string;
  /** Which end of a text that is too long is cut off. */
  readonly truncationSide: 'left' | 'right';
  /** How transformers fills texts up. */
  readonly filling: Filling;
  /** How it was asked to be read. */
  readonly settings: TokenizerSettings;
  /** Content of the files that lay beside tokenizer.json and belong to it, by name: vocab.txt, tokenizer_config.json, … */
  readonly companions: ReadonlyMap<string, Uint8Array>;

  readonly #native: NativeTokenizer;
  readonly #pieces: NativePieces;
  /** Whether pairs get the types of their tokens. */
  readonly #typed: boolean;
  #previous: Promise<unknown> = Promise.resolve();

  private constructor(own: symbol, native: NativeTokenizer, made: Made) {
    if (own !== OWN) throw new GradCacheError('INPUT', 'Tokenizer.fromFile() makes a tokenizer, not new');
    this.#native = native;
    this.truncationSide = made.truncationSide;
    this.filling = made.filling;
    this.json = made.json;
    this.tokenizerClass = made.tokenizerClass;
    this.settings = made.settings;
    this.companions = made.companions;
    this.addedTokens = made.addedTokens;
    this.vocabularySize = made.addedTokens.reduce(
      (size, { id }) => Math.max(size, id + 1),
      made.vocabularySize,
    );
    this.specialTokensPerText = made.specialTokensPerText;
    this.specialTokensPerPair = made.specialTokensPerPair;
    this.#typed = made.typed;
    this.#pieces = new NativePieces(native, made.truncationSide, made.longestText);
  }

  /**
   * Reads a tokenizer.json, and the files of the tokenizer that lie beside it: as in transformers, those say which tokens
   * are never split, and which class reads it. They are saved with it again. Where a folder has no tokenizer.json but a model of
   * sentencepiece (spiece.model, sentencepiece.bpe.model, spm.model, tokenizer.model), that is read, as transformers does.
   *
   * @throws GradCacheError `CHECKPOINT`, naming the file, where it is missing or is not a tokenizer, and for what the
   * files say that cannot be honoured.
   */
  static async fromFile(path: string, settings: TokenizerSettings = {}): Promise<Tokenizer> {
    requireString('path', path);
    const { json, companions } = await readTokenizer(path, settings);
    return Tokenizer.#create(json, settings, companions, path);
  }

  /**
   * Makes a tokenizer from the content of a tokenizer.json. Padding and the length limit stated in there are not used.
   *
   * @throws GradCacheError `CHECKPOINT` where it is not a tokenizer.
   */
  static async fromJson(json: string, settings: TokenizerSettings = {}): Promise<Tokenizer> {
    requireString('json', json);
    return Tokenizer.#create(json, settings, new Map(), 'The text given as tokenizer.json');
  }

  /**
   * The same tokenizer with other content of its files.
   *
   * @throws GradCacheError `CHECKPOINT` where it is not a tokenizer, `INPUT` for what is no content of files
   */
  async withFiles(json: string, companions: ReadonlyMap<string, Uint8Array>): Promise<Tokenizer> {
    requireString('json', json);
    const given: unknown = companions;
    if (!types.isMap(given) || ![...given.values()].every((content) => types.isUint8Array(content)))
      throw refused('companions', given, 'a Map of names and the bytes of files');
    return Tokenizer.#create(json, this.settings, companions, 'The content given as tokenizer.json');
  }

  static async #create(
    json: string,
    settings: TokenizerSettings,
    companions: ReadonlyMap<string, Uint8Array>,
    origin: string,
  ): Promise<Tokenizer> {
    try {
      const stated: unknown = JSON.parse(json);
      if (!isJsonObject(stated)) throw new TypeError('it is not a JSON object');
      const bare = settings.specialTokens === false;
      const files = bare ? {} : parseTokenizerFiles(companions);
      const tokenizerClass = classIn(files, settings);
      const built = bare ? bareTokenizer(stated) : buildTokenizer(stated, tokenizerClass, files);
      const parsed = settings.lowercase === true ? withLowercase(built.parsed) : built.parsed;
      const { patterns } = refuseWhatAborts(parsed);
      const split = files.config?.split_special_tokens === true;
      const read = split ? splitSpecialTokens({ ...built, parsed }) : { ...built, parsed };
      const native = openNative(read.parsed, read);
      const empty = await native.encode('');
      const emptyPair = await native.encode('', '');
      const addedTokens = addedTokensOf(native, built);
      const side = settings.truncationSide ?? files.config?.truncation_side;
      return new Tokenizer(OWN, native, {
        json,
        settings,
        companions,
        tokenizerClass,
        truncationSide: side === 'left' || side === 'right' ? side : statedTruncationSide(stated),
        filling: fillingOf(stated, files, built, addedTokens),
        addedTokens,
        vocabularySize: empty.getIds().reduce((size, id) => Math.max(size, id + 1), vocabularySizeOf(parsed)),
        specialTokensPerText: empty.getLength(),
        specialTokensPerPair: emptyPair.getLength(),
        typed: built.typed,
        longestText: patterns ? LONGEST_FOR_PATTERNS : Infinity,
      });
    } catch (error) {
      const placeholder = placeholderIn(json);
      throw unusable(
        origin,
        placeholder === undefined
          ? error
          : new GradCacheError('CHECKPOINT', `${placeholder}.`, { cause: error }),
      );
    }
  }

  /** What `console.log` shows: none of the files. */
  [inspect.custom](): string {
    const { tokenizerClass, vocabularySize, specialTokensPerText } = this;
    return `Tokenizer { class: ${tokenizerClass}, vocabularySize: ${vocabularySize}, specialTokensPerText: ${specialTokensPerText} }`;
  }

  /**
   * The id of a token, or null where the vocabulary does not have it.
   *
   * @throws GradCacheError `INPUT` for what is no string
   */
  tokenToId(token: string): number | null {
    requireString('token', token);
    return this.#native.tokenToId(token);
  }

  /**
   * Turns texts into token ids, with special tokens around each. A text that is too long is cut as Hugging Face does
   * it: tokens of the text are dropped, special tokens are kept. Lone surrogates count as U+FFFD.
   *
   * @throws GradCacheError `INPUT` for a text that is not a string or that has no token at all (the message gives its
   * index), and for a `maxLength` that leaves no room for text.
   */
  encode(texts: readonly string[], options: EncodeOptions): Promise<TokenBatch> {
    return this.#inTurn(() => {
      requireTexts('texts', texts);
      return this.#encode(texts, options, this.#singles);
    });
  }

  /**
   * Turns pairs of texts into token ids, with special tokens around and between the two. Of a pair that is too long, tokens
   * of the longer text are dropped first (`longest_first` in transformers). The batch has `types` where transformers gives
   * them to models that read this tokenizer.
   *
   * @param options.prefix put in front of the first text of each pair
   * @throws GradCacheError `INPUT` for what is no pair of strings, and as {@link Tokenizer.encode}
   */
  encodePairs(pairs: readonly TextPair[], options: EncodeOptions): Promise<TokenBatch> {
    return this.#inTurn(() => {
      requireTextPairs('pairs', pairs);
      return this.#encode(pairs, options, this.#pairs);
    });
  }

  /**
   * As {@link Tokenizer.encode} and {@link Tokenizer.encodePairs}, but of a text that is too long nothing is cut off: it has several
   * rows, each with the special tokens and the prefix. Of a pair, each row has the whole first text and a part of the second.
   *
   * @param options.overlap how many tokens a row repeats of the one before it. Default: 0
   * @throws GradCacheError `INPUT` also where a row would have no room for the text
   */
  encodeWindows(
    texts: readonly string[] | readonly TextPair[],
    options: EncodeOptions & { readonly overlap?: number },
  ): Promise<WindowBatch> {
    return this.#inTurn(() => {
      checkKnown("a tokenizer's encodeWindows", options, ['maxLength', 'prefix', 'overlap']);
      const { overlap = 0, maxLength, prefix = '' } = options;
      requireNumber('overlap', overlap, { from: 0, whole: true });
      const paired = Array.isArray(texts) && Array.isArray(texts[0]);
      if (paired) requireTextPairs('pairs', texts);
      else requireTexts('texts', texts);
      const kind = paired ? this.#pairs : this.#singles;
      // What is wrong with maxLength itself is told with the first text.
      const room = Number.isSafeInteger(maxLength) ? maxLength - kind.special : Infinity;
      if (overlap > 0 && overlap >= room)
        throw refused(
          'overlap',
          overlap,
          `less than ${room} (a window has ${maxLength} tokens, ${kind.special} special)`,
        );
      const collector = new WindowCollector(texts, { maxLength, overlap, prefix, typed: kind.typed });
      return this.#pieces.collect(texts, { maxLength, prefix }, { ...kind, whole: true }, collector);
    });
  }

  async #encode(texts: readonly Input[], options: EncodeOptions, kind: InputKind): Promise<TokenBatch> {
    checkKnown("a tokenizer's encode", options, ['maxLength', 'prefix']);
    const { maxLength } = options;
    const collector = new TokenCollector(texts, maxLength, this.truncationSide, kind.typed);
    return this.#pieces.collect(texts, options, kind, collector);
  }

  get #singles(): InputKind {
    return { paired: false, special: this.specialTokensPerText, typed: false, whole: false };
  }

  get #pairs(): InputKind {
    return { paired: true, special: this.specialTokensPerPair, typed: this.#typed, whole: true };
  }

  #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const turn = this.#previous.then(run);
    this.#previous = turn.catch(() => undefined);
    return turn;
  }

  /** The text of tokens, special ones included. @throws GradCacheError `INPUT` for an id that no token has */
  async decode(ids: Int32Array): Promise<string> {
    if (!types.isInt32Array(ids)) throw refused('the token ids', ids, 'an Int32Array');
    const wrong = ids.find((id) => id < 0 || id >= this.vocabularySize);
    if (wrong !== undefined)
      throw new GradCacheError('INPUT', `${wrong} is no token id; there are ${this.vocabularySize}, from 0`);
    return this.#native.decode(Array.from(ids), false);
  }
}

/** What a tokenizer is made of, beside the native one. */
interface Made {
  readonly json: string;
  readonly settings: TokenizerSettings;
  readonly companions: ReadonlyMap<string, Uint8Array>;
  readonly tokenizerClass: string;
  readonly truncationSide: 'left' | 'right';
  readonly filling: Filling;
  readonly addedTokens: readonly AddedToken[];
  /** The size of the vocabulary with the special tokens around a text. */
  readonly vocabularySize: number;
  readonly specialTokensPerText: number;
  readonly specialTokensPerPair: number;
  readonly typed: boolean;
  /** In UTF-16 units. */
  readonly longestText: number;
}
