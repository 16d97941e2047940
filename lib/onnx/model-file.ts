import { basename } from 'node:path';
import type { FileHandle } from 'node:fs/promises';
import { packageVersion } from '../addon/runtime/paths.js';
import { GradCacheError } from '../errors.js';
import { writeAll } from '../files/file-handle.js';
import { replaceFile } from '../files/replace-file.js';
import { ELEMENTS, type Constant, type Graph } from './graph.js';
import { head, integer, message, text, type Bytes } from './wire.js';

/** The format's version and the operators' version. onnxruntime 1.14 and later read both. */
const IR_VERSION = 8;
const OPERATORS = 18;

/** A protocol buffer holds less than 2 GiB. What is beside the constants has room in the rest. */
const MOST_BYTES = 2 ** 31 - 2 ** 26;
/** Constants in a side file begin at multiples of it, where they can be mapped. */
const ALIGNMENT = 4096;
/** Smaller ones stay in the file itself. */
const LEAST_ASIDE = 1024;

/** What {@link writeOnnx} has written. */
export interface WrittenOnnx {
  /** The size of the file, and of the side file if there is one. */
  readonly bytes: number;
  /** The name of the file beside it that holds its weights; null: it holds them itself. */
  readonly sideFile: string | null;
}

export interface WriteOnnxOptions {
  /** The most bytes of constants that the file itself holds; with more, they are in a side file. */
  readonly most?: number;
  /** Called for each constant that is written, with the bytes of all so far. What it throws ends the writing. */
  readonly onBytes?: (bytes: number, totalBytes: number) => void;
}

/**
 * Writes a graph as an ONNX file. Weights are read one at a time as they are written.
 */
export async function writeOnnx(
  path: string,
  graph: Graph,
  { most = MOST_BYTES, onBytes }: WriteOnnxOptions = {},
): Promise<WrittenOnnx> {
  const total = sizeOf(graph.constants);
  const aside = total > most;
  let done = 0;
  const writeConstant = async (file: FileHandle, constant: Constant): Promise<void> => {
    await writeAll(file, await elementsOf(constant));
    done += bytesOf(constant);
    onBytes?.(done, total);
  };
  const side = aside
    ? await writeAside(`${path}_data`, graph.constants, writeConstant)
    : new Map<Constant, Place>();
  const constants = graph.constants.map((constant) => {
    const place = side.get(constant);
    const fields = place
      ? [...headOf(constant), ...placeFields(`${basename(path)}_data`, place)]
      : headOf(constant);
    return { constant, fields: Buffer.concat(fields), inside: place === undefined };
  });
  const bodies = constants.map(({ constant, fields, inside }) => {
    const raw = inside ? head(9, bytesOf(constant)) : new Uint8Array(0);
    const length = fields.byteLength + raw.byteLength + (inside ? bytesOf(constant) : 0);
    return { constant, inside, front: Buffer.concat([head(5, length), fields, raw]) };
  });
  const nodes = graph.fields('gradcache');
  const graphBytes = bodies.reduce(
    (sum, { front, constant, inside }) => sum + front.byteLength + (inside ? bytesOf(constant) : 0),
    nodes.byteLength,
  );
  const front = Buffer.concat([
    integer(1, IR_VERSION),
    text(2, 'gradcache'),
    text(3, packageVersion()),
    message(8, text(1, ''), integer(2, OPERATORS)),
    head(7, graphBytes),
    nodes,
  ]);
  await replaceFile(path, async (file) => {
    await writeAll(file, front);
    for (const { constant, inside, front: before } of bodies) {
      await writeAll(file, before);
      if (inside) await writeConstant(file, constant);
    }
  });
  const sideBytes = Array.from(side.values(), ({ offset, length }) => offset + length);
  return {
    bytes: front.byteLength - nodes.byteLength + graphBytes + Math.max(0, ...sideBytes),
    sideFile: aside ? `${basename(path)}_data` : null,
  };
}

/** Where a constant lies in the side file. */
interface Place {
  readonly offset: number;
  readonly length: number;
}

async function writeAside(
  path: string,
  constants: readonly Constant[],
  writeConstant: (file: FileHandle, constant: Constant) => Promise<void>,
): Promise<Map<Constant, Place>> {
  const places = new Map<Constant, Place>();
  let end = 0;
  for (const constant of constants) {
    const length = bytesOf(constant);
    if (length < LEAST_ASIDE) continue;
    const offset = Math.ceil(end / ALIGNMENT) * ALIGNMENT;
    places.set(constant, { offset, length });
    end = offset + length;
  }
  await replaceFile(path, async (file) => {
    let at = 0;
    for (const [constant, { offset, length }] of places) {
      await writeAll(file, new Uint8Array(offset - at));
      await writeConstant(file, constant);
      at = offset + length;
    }
  });
  return places;
}

async function elementsOf(constant: Constant): Promise<Bytes> {
  const bytes = typeof constant.bytes === 'function' ? await constant.bytes() : constant.bytes;
  if (bytes.byteLength === bytesOf(constant)) return bytes;
  throw new GradCacheError(
    'CHECKPOINT',
    `${constant.name} has ${bytes.byteLength} bytes; its shape [${constant.shape.join(', ')}] needs ${bytesOf(constant)}.`,
  );
}

const bytesOf = ({ shape, type }: Constant): number =>
  shape.reduce((product, extent) => product * extent, ELEMENTS[type].size);

const sizeOf = (constants: readonly Constant[]): number =>
  constants.reduce((sum, constant) => sum + bytesOf(constant), 0);

/** The fields of a TensorProto without its elements. */
const headOf = ({ name, type, shape }: Constant): Bytes[] => [
  ...shape.map((extent) => integer(1, extent)),
  integer(2, ELEMENTS[type].number),
  text(8, name),
];

function placeFields(location: string, { offset, length }: Place): Bytes[] {
  const entries = Object.entries({ location, offset: String(offset), length: String(length) });
  return [...entries.map(([key, value]) => message(13, text(1, key), text(2, value))), integer(14, 1)];
}
