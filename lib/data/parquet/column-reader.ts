import { ByteReader } from './byte-reader.js';
import type { Decompress } from './codecs.js';
import { readDeltas, readLengths, readRuns } from './encodings.js';
import type { ColumnChunk, ParquetColumn } from './footer.js';
import { countField, structField, ThriftReader } from './thrift.js';
import type { ThriftStruct } from './thrift.js';

/** A value of a column; null where there is none. Text that is not UTF-8 holds half of a surrogate pair. */
export type ParquetValue = string | number | bigint | null;

const enum Page {
  Data = 0,
  Dictionary = 2,
  DataV2 = 3,
}

/** Encodings by number, as the format counts them. */
const enum Encoding {
  Plain = 0,
  PlainDictionary = 2,
  Runs = 3,
  Deltas = 5,
  DeltaLengths = 6,
  DeltaTexts = 7,
  Dictionary = 8,
}

/** A page with more values is taken for a damaged one; it bounds the memory that reading needs. */
const MAX_PAGE_VALUES = 2 ** 25;

/**
 * Decodes the values of one column in one row group, page after page.
 *
 * Every step is bounded by the bytes there are and the values that the metadata promises. Methods throw an Error where the
 * bytes make no sense.
 */
export class ColumnReader {
  readonly #column: ParquetColumn;
  readonly #chunk: ColumnChunk;
  readonly #bytes: Uint8Array;
  readonly #decompress: Decompress;
  #at = 0;
  #left: number;
  #dictionary: readonly ParquetValue[] | undefined;
  #page: readonly ParquetValue[] = [];
  #used = 0;

  /** @param bytes all bytes of the chunk */
  constructor(column: ParquetColumn, chunk: ColumnChunk, bytes: Uint8Array, decompress: Decompress) {
    this.#column = column;
    this.#chunk = chunk;
    this.#bytes = bytes;
    this.#decompress = decompress;
    this.#left = chunk.values;
  }

  /** The next so many values. */
  take(count: number): ParquetValue[] {
    const values: ParquetValue[] = [];
    while (values.length < count) {
      if (this.#used === this.#page.length) {
        this.#page = this.#nextPage();
        this.#used = 0;
      }
      const end = Math.min(this.#used + count - values.length, this.#page.length);
      while (this.#used < end) values.push(this.#page[this.#used++]!);
    }
    return values;
  }

  #nextPage(): readonly ParquetValue[] {
    for (;;) {
      const reader = new ThriftReader(this.#bytes, this.#at);
      const header = reader.struct();
      const size = countField(header, 3, 'size of a page');
      const unpackedSize = countField(header, 2, 'size of a page');
      if (size > this.#bytes.length - reader.at || unpackedSize > this.#chunk.uncompressedBytes)
        throw new Error(`a page of ${size} bytes reaches beyond its column`);
      const page = this.#bytes.subarray(reader.at, reader.at + size);
      this.#at = reader.at + size;
      const data = structField(header, 5);
      const dataV2 = structField(header, 8);
      const dictionary = structField(header, 7);
      const type = header.get(1);
      if (type === Page.Data && data) return this.#dataPage(data, this.#unpack(page, unpackedSize));
      if (type === Page.DataV2 && dataV2) return this.#dataPageV2(dataV2, page, unpackedSize);
      if (type === Page.Dictionary && dictionary) {
        const count = countField(dictionary, 1, 'number of values');
        this.#dictionary = this.#plain(new ByteReader(this.#unpack(page, unpackedSize)), count);
      }
      // Other kinds of pages, as of an index, hold no values.
    }
  }

  #unpack(bytes: Uint8Array, length: number): Uint8Array {
    if (length === 0) return new Uint8Array(0);
    const unpacked = this.#decompress(bytes, length);
    if (unpacked.length !== length)
      throw new Error(`a page has ${unpacked.length} bytes instead of ${length} when unpacked`);
    return unpacked;
  }

  #count(header: ThriftStruct): number {
    const count = countField(header, 1, 'number of values');
    if (count > this.#left) throw new Error('its pages hold more values than its metadata says');
    if (count > MAX_PAGE_VALUES) throw new Error(`a page has ${count} values`);
    this.#left -= count;
    return count;
  }

  #dataPage(header: ThriftStruct, bytes: Uint8Array): readonly ParquetValue[] {
    const count = this.#count(header);
    const reader = new ByteReader(bytes);
    let present: Uint32Array | undefined;
    if (this.#column.repetition === 'optional') {
      if (header.get(3) !== Encoding.Runs) throw new Error('its missing values are told in an old way');
      present = readRuns(reader.take(reader.uint32()), 1, count);
    }
    return this.#values(reader, header.get(2), count, present);
  }

  #dataPageV2(header: ThriftStruct, bytes: Uint8Array, unpackedSize: number): readonly ParquetValue[] {
    const count = this.#count(header);
    const levelBytes = countField(header, 5, 'size of levels');
    if (countField(header, 6, 'size of levels') !== 0 || levelBytes > Math.min(bytes.length, unpackedSize))
      throw new Error('a page has levels that do not fit it');
    const present =
      this.#column.repetition === 'optional' ? readRuns(bytes.subarray(0, levelBytes), 1, count) : undefined;
    const rest = bytes.subarray(levelBytes);
    const packed = header.get(7) !== false;
    const data = packed ? this.#unpack(rest, unpackedSize - levelBytes) : rest;
    return this.#values(new ByteReader(data), header.get(4), count, present);
  }

  #values(
    reader: ByteReader,
    encoding: unknown,
    count: number,
    present: Uint32Array | undefined,
  ): readonly ParquetValue[] {
    if (present === undefined) return this.#decode(reader, encoding, count);
    let there = 0;
    for (const level of present) {
      if (level > 1) throw new Error('a value is nested where nothing is');
      there += level;
    }
    const values = this.#decode(reader, encoding, there);
    if (there === count) return values;
    let next = 0;
    return Array.from(present, (level) => (level === 1 ? values[next++]! : null));
  }

  #decode(reader: ByteReader, encoding: unknown, count: number): readonly ParquetValue[] {
    if (count === 0) return [];
    switch (encoding) {
      case Encoding.Plain:
        return this.#plain(reader, count);
      case Encoding.Dictionary:
      case Encoding.PlainDictionary:
        return this.#fromDictionary(reader, count);
      case Encoding.Deltas:
        if (this.#column.type === 'INT32' || this.#column.type === 'INT64')
          return Array.from(readDeltas(reader, count), (value) => this.#whole(value));
        break;
      case Encoding.DeltaLengths:
        if (this.#column.type === 'BYTE_ARRAY')
          return readLengths(reader, count).map((length) => decodeText(reader.take(length)));
        break;
      case Encoding.DeltaTexts:
        if (this.#column.type === 'BYTE_ARRAY') return readDeltaTexts(reader, count);
        break;
    }
    throw new Error(
      `encoding ${String(encoding)} of a column of the type ${this.#column.type} is not supported`,
    );
  }

  #fromDictionary(reader: ByteReader, count: number): readonly ParquetValue[] {
    const dictionary = this.#dictionary;
    if (dictionary === undefined) throw new Error('a dictionary is missing');
    const width = reader.byte();
    if (width > 32) throw new Error(`numbers of ${width} bits are not possible`);
    const values: ParquetValue[] = [];
    for (const place of readRuns(reader.take(reader.left), width, count)) {
      const value = dictionary[place];
      if (value === undefined)
        throw new Error(`a dictionary of ${dictionary.length} values has no value ${place}`);
      values.push(value);
    }
    return values;
  }

  #plain(reader: ByteReader, count: number): readonly ParquetValue[] {
    const { type } = this.#column;
    if (count > reader.left / (type === 'INT64' || type === 'DOUBLE' ? 8 : 4))
      throw new Error(`${reader.left} bytes cannot hold ${count} values`);
    const read = (): ParquetValue => {
      switch (type) {
        case 'BYTE_ARRAY':
          return decodeText(reader.take(reader.uint32()));
        case 'INT32':
          return this.#whole(BigInt(reader.int32()));
        case 'INT64':
          return this.#whole(reader.int64());
        case 'FLOAT':
          return reader.float();
        case 'DOUBLE':
          return reader.double();
        default:
          throw new Error(`values of the type ${type} are not read`);
      }
    };
    return Array.from({ length: count }, read);
  }

  #whole(value: bigint): number | bigint {
    const bits = this.#column.type === 'INT32' ? 32 : 64;
    if (this.#column.unsigned) return BigInt.asUintN(bits, value);
    return BigInt.asIntN(bits, value);
  }
}

/** Texts that begin as the one before does (DELTA_BYTE_ARRAY). */
function readDeltaTexts(reader: ByteReader, count: number): string[] {
  const shared = readLengths(reader, count);
  const rest = readLengths(reader, count);
  let previous: Uint8Array = new Uint8Array(0);
  return shared.map((length, i) => {
    if (length > previous.length) throw new Error('a text begins with more than the one before has');
    previous = Buffer.concat([previous.subarray(0, length), reader.take(rest[i]!)]);
    return decodeText(previous);
  });
}

const strictDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decodeText(bytes: Uint8Array): string {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
  if (!text.includes('\ufffd')) return text;
  try {
    return strictDecoder.decode(bytes);
  } catch {
    return '\udc80';
  }
}
