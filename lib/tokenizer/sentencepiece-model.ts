import { GradCacheError } from '../errors.js';
import { faultIn } from '../files/file-fault.js';
import { show } from '../options/option-values.js';
import { fieldsOf, type Field } from './protobuf.js';

/** A file of sentencepiece (`spiece.model`, `tokenizer.model`, …), as far as the classes of transformers read it. */
export interface SentencePieceModel {
  readonly kind: 'Unigram' | 'BPE';
  /** By id. */
  readonly pieces: readonly Piece[];
  /** The id of the piece for what no other covers. */
  readonly unknown: number;
  /** The map of its normalizer; null: it has none. */
  readonly map: Uint8Array | null;
}

export interface Piece {
  readonly text: string;
  readonly score: number;
  /** Pieces that the model's maker named are never split, in contrast to learned ones: tokens of control, and words. */
  readonly named: 'control' | 'word' | null;
}

/** The most characters of a piece: no vocabulary has longer ones, and merges are found by trying every place to cut at. */
const LONGEST_PIECE = 1024;

const KINDS = new Map([
  [1, 'Unigram'],
  [2, 'BPE'],
] as const) as ReadonlyMap<number, 'Unigram' | 'BPE'>;
const NAMED: ReadonlyMap<number, Piece['named']> = new Map([
  [3, 'control'],
  [4, 'word'],
]);

/**
 * Reads a model of sentencepiece.
 *
 * @param name the file's, for errors
 * @throws GradCacheError `CHECKPOINT` for what is no such file or a damaged one, and for one that is of words or characters
 */
export function readSentencePiece(name: string, bytes: Uint8Array): SentencePieceModel {
  try {
    return modelIn(bytes);
  } catch (error) {
    if (error instanceof GradCacheError) throw error;
    throw faultIn(name, `it is no model of sentencepiece: ${(error as Error).message}`, error);
  }
}

function modelIn(bytes: Uint8Array): SentencePieceModel {
  const pieces: Piece[] = [];
  const ids = new Map<string, number>();
  let [kind, unknown] = [1, 0]; // what is not written has these values
  let map: Uint8Array | null = null;
  for (const field of fieldsOf(bytes)) {
    if (field.number === 1) {
      const piece = pieceIn(bytesOf(field, 'a piece'), pieces.length);
      const before = ids.get(piece.text);
      if (before !== undefined)
        throw new Error(`the pieces ${before} and ${pieces.length} are both ${show(piece.text)}`);
      ids.set(piece.text, pieces.length);
      pieces.push(piece);
    } else if (field.number === 2) {
      for (const setting of fieldsOf(bytesOf(field, 'its settings'))) {
        if (setting.number === 3) kind = integerOf(setting, 'model_type');
        if (setting.number === 40) unknown = integerOf(setting, 'unk_id');
      }
    } else if (field.number === 3) {
      for (const setting of fieldsOf(bytesOf(field, 'its normalizer')))
        if (setting.number === 2) map = bytesOf(setting, 'precompiled_charsmap');
    }
  }
  if (pieces.length === 0) throw new Error('it has no pieces');
  const found = KINDS.get(kind);
  if (found === undefined)
    throw new Error(`model_type is ${kind}; 1 (unigram) or 2 (BPE) is needed, as others split no words`);
  return { kind: found, pieces, unknown, map: map === null || map.length === 0 ? null : map };
}

function pieceIn(bytes: Uint8Array, id: number): Piece {
  let [text, score, type] = ['', 0, 1];
  for (const field of fieldsOf(bytes)) {
    if (field.number === 1) text = textOf(bytesOf(field, `piece ${id}`), id);
    if (field.number === 2) {
      if (field.kind !== 'fixed32') throw new Error(`the score of piece ${id} is no number`);
      score = field.value.getFloat32(0, true);
    }
    if (field.number === 3) type = integerOf(field, `the type of piece ${id}`);
  }
  if (text === '') throw new Error(`piece ${id} is empty`);
  if (text.length > LONGEST_PIECE)
    throw new Error(`piece ${id} has ${text.length} characters; at most ${LONGEST_PIECE} are taken`);
  if (!Number.isFinite(score)) throw new Error(`the score of piece ${id} is ${score}`);
  return { text, score, named: NAMED.get(type) ?? null };
}

function textOf(bytes: Uint8Array, id: number): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new Error(`piece ${id} is not UTF-8`, { cause: error });
  }
}

function bytesOf(field: Field, what: string): Uint8Array {
  if (field.kind !== 'bytes') throw new Error(`${what} is no text`);
  return field.value;
}

function integerOf(field: Field, what: string): number {
  if (field.kind !== 'integer') throw new Error(`${what} is no whole number`);
  return field.value;
}
