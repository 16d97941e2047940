import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { unpackHadoopLz4, unpackLz4 } from './lz4.js';
import { unpackSnappy } from './snappy.js';

/** Compressions by number, as the format counts them. */
const CODECS = ['none', 'Snappy', 'gzip', 'LZO', 'Brotli', 'LZ4', 'Zstandard', 'LZ4 raw'];

/** Unpacks bytes into so many. */
export type Decompress = (bytes: Uint8Array, length: number) => Uint8Array;

/**
 * What unpacks the pages of a compression. The package for Zstandard is loaded where a file needs it, since it sets much
 * address space aside for WebAssembly.
 *
 * @throws Error for a compression that is not supported
 */
export async function decompressor(codec: number): Promise<Decompress> {
  switch (CODECS[codec]) {
    case 'none':
      return (bytes) => bytes;
    case 'gzip':
      return (bytes, length) => gunzipSync(bytes, { maxOutputLength: Math.max(length, 1) });
    case 'Brotli':
      return (bytes, length) => brotliDecompressSync(bytes, { maxOutputLength: Math.max(length, 1) });
    case 'Snappy':
      return unpackSnappy;
    case 'LZ4':
      return unpackHadoopLz4;
    case 'LZ4 raw':
      return unpackLz4;
    case 'Zstandard': {
      const { decompressZstd } = await import('hyparquet-compressors');
      return (bytes, length) => decompressZstd(bytes, new Uint8Array(length));
    }
    default:
      throw new Error(`it is compressed with ${CODECS[codec] ?? `codec ${codec}`}, which is not supported`);
  }
}
