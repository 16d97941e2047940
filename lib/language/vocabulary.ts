import { join } from 'node:path';
import { GradCacheError } from '../errors.js';
import { readJsonObject } from '../files/json-file.js';
import { replaceFile } from '../files/replace-file.js';
import { throwIfAborted } from '../options/abort.js';
import { Fields } from '../options/fields.js';
import { Tokenizer } from '../tokenizer/tokenizer.js';

/** What the tokens of a language model are. */
export const VOCABULARIES = ['bytes', 'characters', 'tokenizer'] as const;
export type VocabularyKind = (typeof VOCABULARIES)[number];

/** Turns text into tokens and back. */
export interface Vocabulary {
  readonly kind: VocabularyKind;
  /** How many tokens there are. */
  readonly size: number;
  /**
   * @param text bytes; UTF-8 where tokens are not bytes
   * @throws GradCacheError `INPUT` for text that the vocabulary does not have
   */
  encode(text: Uint8Array, signal?: AbortSignal): Promise<Int32Array>;
  /** Bytes of UTF-8, or whatever the tokens of bytes are. */
  decode(tokens: Int32Array): Promise<Uint8Array>;
  /** Writes what {@link readVocabulary} reads. */
  save(folder: string): Promise<void>;
}

const FILE = 'vocabulary.json';
const TOKENIZER = 'tokenizer.json';

/** The files of a folder that belong to a vocabulary. */
export const isPartOfVocabulary = (name: string): boolean => name === FILE || name === TOKENIZER;

async function saveAs(folder: string, content: Readonly<Record<string, unknown>>): Promise<void> {
  await replaceFile(join(folder, FILE), (file) => file.writeFile(`${JSON.stringify(content)}\n`));
}

/** Each of the 256 bytes is a token. */
export class Bytes implements Vocabulary {
  readonly kind = 'bytes';
  readonly size = 256;

  encode(text: Uint8Array): Promise<Int32Array> {
    return Promise.resolve(Int32Array.from(text));
  }

  decode(tokens: Int32Array): Promise<Uint8Array> {
    return Promise.resolve(Uint8Array.from(tokens));
  }

  save(folder: string): Promise<void> {
    return saveAs(folder, { kind: this.kind });
  }
}

/** Each character (code point) of the training text is a token, in the order of Unicode. */
export class Characters implements Vocabulary {
  readonly kind = 'characters';
  readonly #characters: readonly string[];
  readonly #ids: ReadonlyMap<string, number>;

  constructor(characters: readonly string[]) {
    this.#characters = characters;
    this.#ids = new Map(characters.map((character, id) => [character, id]));
  }

  /** Those of some texts. @throws GradCacheError `INPUT` for what is no UTF-8 */
  static of(texts: readonly Uint8Array[]): Characters {
    const found = new Set<string>();
    for (const text of texts) for (const character of decoded(text)) found.add(character);
    return new Characters([...found].sort((a, b) => a.codePointAt(0)! - b.codePointAt(0)!));
  }

  get size(): number {
    return this.#characters.length;
  }

  encode(text: Uint8Array): Promise<Int32Array> {
    const ids = new Int32Array(text.length);
    let count = 0;
    for (const character of decoded(text)) {
      const id = this.#ids.get(character);
      if (id === undefined)
        throw new GradCacheError(
          'INPUT',
          `the text has the character ${JSON.stringify(character)}, which the ${this.size} of the model's training text do not ` +
            'include: take it out, or train a model on bytes',
        );
      ids[count++] = id;
    }
    return Promise.resolve(ids.slice(0, count));
  }

  decode(tokens: Int32Array): Promise<Uint8Array> {
    return Promise.resolve(Buffer.from(Array.from(tokens, (id) => this.#characters[id] ?? '').join('')));
  }

  save(folder: string): Promise<void> {
    return saveAs(folder, { kind: this.kind, characters: this.#characters.join('') });
  }
}

/** A piece of this many characters, cut where a line ends, is tokenised at once. */
const PIECE = 16_384;

/** The tokens of a Hugging Face tokenizer, without those that it puts around a text. */
export class Subwords implements Vocabulary {
  readonly kind = 'tokenizer';

  private constructor(
    readonly tokenizer: Tokenizer,
    /** How many of the tokens around a text come before it. */
    readonly before: number,
  ) {}

  static async of(tokenizer: Tokenizer): Promise<Subwords> {
    if (tokenizer.specialTokensPerText === 0) return new Subwords(tokenizer, 0);
    const [empty, letter] = await Promise.all(['', 'a'].map((text) => idsOf(tokenizer, [text])));
    const differs = empty!.findIndex((id, place) => id !== letter![place]);
    return new Subwords(tokenizer, differs < 0 ? empty!.length : differs);
  }

  get size(): number {
    return this.tokenizer.vocabularySize;
  }

  async encode(text: Uint8Array, signal?: AbortSignal): Promise<Int32Array> {
    const { tokenizer, before } = this;
    const behind = tokenizer.specialTokensPerText - before;
    const parts: Int32Array[] = [];
    for (const piece of piecesOf(decoded(text))) {
      throwIfAborted(signal);
      const ids = await idsOf(tokenizer, [piece]);
      parts.push(ids.subarray(before, ids.length - behind));
    }
    return joined(parts);
  }

  async decode(tokens: Int32Array): Promise<Uint8Array> {
    return Buffer.from(await this.tokenizer.decode(tokens));
  }

  async save(folder: string): Promise<void> {
    await replaceFile(join(folder, TOKENIZER), (file) => file.writeFile(this.tokenizer.json));
    await saveAs(folder, { kind: this.kind });
  }
}

/** Reads the vocabulary of a model folder. @throws GradCacheError `CHECKPOINT` */
export async function readVocabulary(folder: string): Promise<Vocabulary> {
  const path = join(folder, FILE);
  const content = await readJsonObject(path);
  if (content === undefined)
    throw new GradCacheError(
      'CHECKPOINT',
      `${folder} has no ${FILE}, which says what the model's tokens are.`,
    );
  try {
    const fields = new Fields(content, path);
    const kind = fields.oneOf('kind', VOCABULARIES) ?? fields.missing('kind', 'the file is damaged');
    if (kind === 'bytes') return new Bytes();
    if (kind === 'tokenizer') return await Subwords.of(await Tokenizer.fromFile(join(folder, TOKENIZER)));
    const characters = [
      ...(fields.string('characters') ?? fields.missing('characters', 'the file is damaged')),
    ];
    if (new Set(characters).size < characters.length) throw new Error(`${path} has a character twice.`);
    return new Characters(characters);
  } catch (error) {
    if (error instanceof GradCacheError && error.code === 'CHECKPOINT') throw error;
    throw new GradCacheError('CHECKPOINT', (error as Error).message, { cause: error });
  }
}

function decoded(text: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(text);
  } catch (error) {
    throw new GradCacheError('INPUT', 'the text is not UTF-8; only a model on bytes can read it', {
      cause: error,
    });
  }
}

async function idsOf(tokenizer: Tokenizer, texts: readonly string[]): Promise<Int32Array> {
  return (await tokenizer.encode(texts, { maxLength: 2 ** 31 - 2 })).ids;
}

function* piecesOf(text: string): Generator<string> {
  for (let from = 0; from < text.length;) {
    let to = Math.min(text.length, from + PIECE);
    if (to < text.length) {
      const line = text.lastIndexOf('\n', to);
      const word = line > from ? line : text.lastIndexOf(' ', to);
      if (word > from) to = line > from ? line + 1 : word;
      // A character of two code units stays whole.
      if ((text.charCodeAt(to) & 0xfc00) === 0xdc00) to++;
    }
    yield text.slice(from, to);
    from = to;
  }
}

/**
 * What some tokens add to a text. Tokens are decoded behind those of the text: alone, a tokenizer's first word would lose the
 * space before it.
 */
export async function decodeBehind(
  vocabulary: Vocabulary,
  text: Int32Array,
  tokens: Int32Array,
): Promise<Uint8Array> {
  const before = Buffer.from(await vocabulary.decode(text));
  const whole = Buffer.from(await vocabulary.decode(joined([text, tokens])));
  const goesOn = whole.subarray(0, before.length).equals(before);
  return goesOn ? whole.subarray(before.length) : vocabulary.decode(tokens);
}

/** Lists one behind the other. */
export function joined(parts: readonly Int32Array[]): Int32Array {
  const all = new Int32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
