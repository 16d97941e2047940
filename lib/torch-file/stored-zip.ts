import type { FileHandle } from 'node:fs/promises';
import { faultIn } from '../files/file-fault.js';
import { readRange } from '../files/read-range.js';

/** A file inside an archive that was stored as it is. */
export interface ZipEntry {
  readonly name: string;
  /** Where its bytes begin in the archive. */
  readonly offset: number;
  readonly length: number;
}

const END = 0x06054b50;
const END_BYTES = 22;
const END_64 = 0x06064b50;
const END_64_BYTES = 56;
const LOCATOR = 0x07064b50;
const LOCATOR_BYTES = 20;
const ENTRY = 0x02014b50;
const ENTRY_BYTES = 46;
const HEADER = 0x04034b50;
const HEADER_BYTES = 30;
const LONGEST_COMMENT = 0xffff;
/** In place of a number that is in a field of 64 bits. */
const ELSEWHERE = 0xffffffff;
/** More than the list of files of any checkpoint needs. */
const MOST_DIRECTORY_BYTES = 1 << 28;

/**
 * The files of a zip archive, by name. PyTorch stores them as they are: nothing is unpacked here.
 *
 * @throws GradCacheError `CHECKPOINT` for an archive that is damaged, encrypted or compressed
 */
export async function readZip(file: FileHandle, path: string): Promise<Map<string, ZipEntry>> {
  const { size } = await file.stat();
  const { count, offset, length } = await findDirectory(file, path, size);
  if (length > MOST_DIRECTORY_BYTES || offset + length > size)
    throw faultIn(path, `its list of files claims bytes ${offset} to ${offset + length} of ${size}`);
  const directory = viewOf(await readRange(file, path, offset, length));
  const entries = new Map<string, ZipEntry>();
  let at = 0;
  for (let number = 0; number < count; number++) {
    const { name, stored, next } = readEntry(directory, at, path);
    if (entries.has(name)) throw faultIn(path, `it has the file ${JSON.stringify(name)} twice`);
    entries.set(name, { name, offset: await dataOf(file, path, stored, size), length: stored.length });
    at = next;
  }
  return entries;
}

/** Where the list of files is, by the record at the end of the archive. */
async function findDirectory(file: FileHandle, path: string, size: number) {
  const begin = Math.max(0, size - END_BYTES - LONGEST_COMMENT);
  const tail = viewOf(await readRange(file, path, begin, size - begin));
  let at = tail.byteLength - END_BYTES;
  while (at >= 0 && tail.getUint32(at, true) !== END) at--;
  if (at < 0) throw faultIn(path, 'it has no end of a zip archive: it is cut off');
  const wide = at - LOCATOR_BYTES;
  if (wide >= 0 && tail.getUint32(wide, true) === LOCATOR)
    return wideDirectory(file, path, numberAt(tail, wide + 8, path), size);
  return {
    count: tail.getUint16(at + 10, true),
    length: tail.getUint32(at + 12, true),
    offset: tail.getUint32(at + 16, true),
  };
}

async function wideDirectory(file: FileHandle, path: string, at: number, size: number) {
  if (at + END_64_BYTES > size) throw faultIn(path, `its end record claims to be at byte ${at} of ${size}`);
  const record = viewOf(await readRange(file, path, at, END_64_BYTES));
  if (record.getUint32(0, true) !== END_64) throw faultIn(path, `it has no end record at byte ${at}`);
  return {
    count: numberAt(record, 32, path),
    length: numberAt(record, 40, path),
    offset: numberAt(record, 48, path),
  };
}

interface Stored {
  readonly name: string;
  readonly header: number;
  readonly length: number;
}

function readEntry(directory: DataView, at: number, path: string) {
  const end = at + ENTRY_BYTES;
  if (end > directory.byteLength || directory.getUint32(at, true) !== ENTRY)
    throw faultIn(path, 'its list of files is damaged');
  const [flags, method] = [directory.getUint16(at + 8, true), directory.getUint16(at + 10, true)];
  const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((place) =>
    directory.getUint16(at + place, true),
  ) as [number, number, number];
  const next = end + nameBytes + extraBytes + commentBytes;
  if (next > directory.byteLength) throw faultIn(path, 'its list of files is cut off');
  const name = new TextDecoder().decode(bytesOf(directory, end, nameBytes));
  const packed = directory.getUint32(at + 20, true);
  let length = directory.getUint32(at + 24, true);
  let header = directory.getUint32(at + 42, true);
  if (method !== 0 || (flags & 1) !== 0 || packed !== length)
    throw faultIn(
      path,
      `its file ${JSON.stringify(name)} is compressed or encrypted, as torch.save leaves none: save it anew with torch.save`,
    );
  if (length === ELSEWHERE || header === ELSEWHERE) {
    const wide = wideNumbers(directory, end + nameBytes, extraBytes, path);
    // The numbers are there for the fields that lack them, in the order of the fields: sizes, then the place.
    if (length === ELSEWHERE) {
      length = wide[0] ?? ELSEWHERE;
      wide.splice(0, 2);
    }
    if (header === ELSEWHERE) header = wide[0] ?? ELSEWHERE;
  }
  return { name, stored: { name, header, length }, next };
}

/** The 64-bit numbers of an entry. */
function wideNumbers(directory: DataView, begin: number, length: number, path: string): number[] {
  for (let at = begin; at + 4 <= begin + length;) {
    const size = directory.getUint16(at + 2, true);
    const end = at + 4 + size;
    if (end > begin + length) break;
    if (directory.getUint16(at, true) === 1) {
      const count = Math.floor(size / 8);
      return Array.from({ length: count }, (_, place) => numberAt(directory, at + 4 + 8 * place, path));
    }
    at = end;
  }
  return [];
}

/** Where the bytes of a file begin: behind its own header. */
async function dataOf(file: FileHandle, path: string, { name, header, length }: Stored, size: number) {
  const beyond = () =>
    faultIn(path, `its file ${JSON.stringify(name)} reaches beyond the archive of ${size} bytes`);
  if (header + HEADER_BYTES > size) throw beyond();
  const view = viewOf(await readRange(file, path, header, HEADER_BYTES));
  if (view.getUint32(0, true) !== HEADER) throw faultIn(path, `it has no file at byte ${header}`);
  const begin = header + HEADER_BYTES + view.getUint16(26, true) + view.getUint16(28, true);
  if (begin + length > size) throw beyond();
  return begin;
}

function numberAt(view: DataView, at: number, path: string): number {
  const number = view.getBigUint64(at, true);
  if (number <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(number);
  throw faultIn(path, `it claims ${number} bytes`);
}

const viewOf = ({ buffer, byteOffset, byteLength }: Uint8Array): DataView =>
  new DataView(buffer, byteOffset, byteLength);
const bytesOf = ({ buffer, byteOffset }: DataView, at: number, length: number): Uint8Array =>
  new Uint8Array(buffer, byteOffset + at, length);
