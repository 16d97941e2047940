/*
 * Events of TensorBoard as bytes: messages of protocol buffers (tensorboard/compat/proto/event.proto) in records of TFRecord.
 */
import { maskedCrc32c } from './crc32c.js';

/** What one event tells. */
export type EventContent =
  | { readonly scalars: Readonly<Record<string, number>> }
  | { readonly texts: Readonly<Record<string, string>> }
  /** The first event of a file. */
  | { readonly version: true }
  /** Steps from this one on that are in earlier files do not count any more. */
  | { readonly restart: true };

/** An event as a record. @param seconds since 1970 */
export function eventRecord(seconds: number, step: number, content: EventContent): Buffer {
  return record(Buffer.concat([double(1, seconds), whole(2, step), bodyOf(content)]));
}

function bodyOf(content: EventContent): Buffer {
  if ('version' in content) return bytes(3, 'brain.Event:2');
  if ('restart' in content) return bytes(7, whole(1, 1)); // SessionLog.START
  const values =
    'scalars' in content
      ? Object.entries(content.scalars).map(([tag, value]) => Buffer.concat([bytes(1, tag), float(2, value)]))
      : Object.entries(content.texts).map(([tag, text]) =>
          Buffer.concat([bytes(1, tag), bytes(8, textTensor(text)), bytes(9, TEXT_METADATA)]),
        );
  return bytes(5, Buffer.concat(values.map((value) => bytes(1, value))));
}

/** A tensor of one string: its type, its shape [1], its value. */
function textTensor(text: string): Buffer {
  return Buffer.concat([whole(1, 7), bytes(2, bytes(2, whole(1, 1))), bytes(8, text)]);
}

/** A record: its length, the checksum of that, the content, its checksum. */
function record(content: Buffer): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(content.length));
  return Buffer.concat([length, checksum(length), content, checksum(content)]);
}

function checksum(content: Buffer): Buffer {
  const sum = Buffer.alloc(4);
  sum.writeUInt32LE(maskedCrc32c(content));
  return sum;
}

/** A field of eight bytes. */
function double(field: number, value: number): Buffer {
  const written = Buffer.alloc(9);
  written[0] = (field << 3) | 1;
  written.writeDoubleLE(value, 1);
  return written;
}

/** A field of four bytes. */
function float(field: number, value: number): Buffer {
  const written = Buffer.alloc(5);
  written[0] = (field << 3) | 5;
  written.writeFloatLE(value, 1);
  return written;
}

/** A field of a whole number from 0. */
function whole(field: number, value: number): Buffer {
  return Buffer.from([field << 3, ...variable(value)]);
}

/** A field of a text, or of a message. */
function bytes(field: number, value: string | Buffer): Buffer {
  const content = Buffer.from(value);
  return Buffer.concat([Buffer.from([(field << 3) | 2, ...variable(content.length)]), content]);
}

/** Seven bits a byte, the lowest first. */
function variable(value: number): number[] {
  const written: number[] = [];
  for (; value >= 128; value = Math.floor(value / 128)) written.push((value % 128) | 128);
  return [...written, value];
}

/** Says that a value is for TensorBoard's page of texts: a plugin, and the class of tensors. */
const TEXT_METADATA = Buffer.concat([bytes(1, bytes(1, 'text')), whole(4, 2)]);
