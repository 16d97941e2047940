import { createHash } from 'node:crypto';
import { openSource, refuseStandIn } from '../data/source.js';
import { GradCacheError } from '../errors.js';
import { fileError, isSystemError } from '../files/file-error.js';
import { throwIfAborted } from '../options/abort.js';
import { Characters, joined, type Vocabulary } from './vocabulary.js';

/** What the documents of a text file are: the whole of it, or its lines that are not empty. */
export const DOCUMENTS = ['file', 'line'] as const;
export type DocumentKind = (typeof DOCUMENTS)[number];

/** Texts as they lie in their files. */
export interface Texts {
  readonly documents: readonly Uint8Array[];
  /** The digest of all documents, in their order. */
  readonly sha256: string;
}

/** Documents as tokens, one behind the other. */
export interface Corpus {
  readonly tokens: Int32Array;
  /** Where each document ends in `tokens`, that token excluded. */
  readonly ends: readonly number[];
  /** Characters of all documents (code points), or bytes where these are the tokens. */
  readonly characters: number;
}

/**
 * Reads documents of text files, unpacked where a name ends in `.gz`.
 *
 * @throws GradCacheError `INPUT` for a file that cannot be read or has no text; `ABORTED`
 */
export async function readTexts(
  paths: readonly string[],
  kind: DocumentKind,
  signal?: AbortSignal,
): Promise<Texts> {
  const documents: Uint8Array[] = [];
  for (const path of paths) {
    const bytes = await readAll(path, signal);
    const found = kind === 'file' ? [bytes] : linesOf(bytes);
    documents.push(...found.filter(({ length }) => length > 0));
  }
  if (documents.length === 0) throw new GradCacheError('INPUT', `${paths.join(', ')}: there is no text`);
  const hash = createHash('sha256');
  for (const document of documents) hash.update(`${document.length}\n`).update(document);
  return { documents, sha256: hash.digest('hex') };
}

async function readAll(path: string, signal: AbortSignal | undefined): Promise<Buffer> {
  await refuseStandIn(path, 'data');
  const pieces: Buffer[] = [];
  try {
    for await (const piece of await openSource(path, signal)) pieces.push(piece as Buffer);
  } catch (error) {
    throwIfAborted(signal);
    throw isSystemError(error) ? fileError('INPUT', path, 'read', error) : error;
  }
  return Buffer.concat(pieces);
}

function linesOf(bytes: Buffer): Buffer[] {
  const lines: Buffer[] = [];
  for (let from = 0; from < bytes.length;) {
    const found = bytes.indexOf(0x0a, from);
    const to = found < 0 ? bytes.length : found;
    const end = to > from && bytes[to - 1] === 0x0d ? to - 1 : to;
    lines.push(bytes.subarray(from, end));
    from = to + 1;
  }
  return lines;
}

/** The tokens of documents. @throws GradCacheError `INPUT` for text that the vocabulary does not have; `ABORTED` */
export async function encodeTexts(
  { documents }: Texts,
  vocabulary: Vocabulary,
  signal?: AbortSignal,
): Promise<Corpus> {
  const parts: Int32Array[] = [];
  const ends: number[] = [];
  let count = 0;
  let characters = 0;
  for (const document of documents) {
    throwIfAborted(signal);
    const tokens = await vocabulary.encode(document, signal);
    parts.push(tokens);
    ends.push((count += tokens.length));
    characters += vocabulary.kind === 'bytes' ? document.length : codePointsIn(document);
  }
  return { tokens: joined(parts), ends, characters };
}

/** The characters of the training text become the vocabulary. */
export function charactersOf({ documents }: Texts): Characters {
  return Characters.of(documents);
}

/** Bytes of UTF-8 that do not go on with a character. */
function codePointsIn(text: Uint8Array): number {
  let count = 0;
  for (const byte of text) if ((byte & 0xc0) !== 0x80) count++;
  return count;
}
