import type { StoredTensor } from '../../lib/index.js';

const CLASSES: Readonly<Record<string, string>> = {
  ...{
    float32: 'FloatStorage',
    float64: 'DoubleStorage',
    float16: 'HalfStorage',
    bfloat16: 'BFloat16Storage',
  },
  ...{
    int64: 'LongStorage',
    int32: 'IntStorage',
    int16: 'ShortStorage',
    int8: 'CharStorage',
    uint8: 'ByteStorage',
  },
  bool: 'BoolStorage',
};

const word = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
const half = (value: number): Buffer => word(value).subarray(0, 2);
const code = (...parts: (string | Buffer)[]): Buffer =>
  Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part)));
const text = (value: string): Buffer => code('X', word(Buffer.byteLength(value)), Buffer.from(value));
const int = (value: number): Buffer => code('J', word(value));
const tuple = (...items: Buffer[]): Buffer => code('(', ...items, 't');
const global = (module: string, name: string): Buffer => code(`c${module}\n${name}\n`);

/** Operations of a pickle, for tests that write their own. */
export const pickle = { code, text, int, tuple, global };

/** The pickle of a tensor. */
export function pickledTensor(
  key: string,
  { dtype, shape, bytes }: StoredTensor,
  { offset = 0, strides = stridesOf(shape), elements = shape.reduce((a, b) => a * b, 1) } = {},
): Buffer {
  const type = global('torch', CLASSES[dtype]!);
  const storage = code(tuple(text('storage'), type, text(key), text('cpu'), int(elements)), 'Q');
  const counts = (list: readonly number[]) => tuple(...list.map(int));
  const args = [
    storage,
    int(offset),
    counts(shape),
    counts(strides),
    code('\x89'),
    code(global('collections', 'OrderedDict'), ')R'),
  ];
  return bytes.length === 0 && elements < 0
    ? code('N')
    : code(global('torch._utils', '_rebuild_tensor_v2'), tuple(...args), 'R');
}

function stridesOf(shape: readonly number[]): number[] {
  let step = 1;
  return [...shape]
    .reverse()
    .map((size) => ((step *= size), step / size))
    .reverse();
}

/** A pickle of an ordered dict, of which each value is a pickle. */
export function pickledDict(entries: readonly (readonly [string, Buffer])[]): Buffer {
  const items = entries.map(([name, value]) => code(text(name), value));
  return code('\x80\x02', global('collections', 'OrderedDict'), ')R(', ...items, 'u.');
}

/** The tensors as `torch.save` writes a state dict. */
export function torchFile(tensors: ReadonlyMap<string, StoredTensor>): Buffer {
  const list = [...tensors];
  return zip([
    [
      'archive/data.pkl',
      pickledDict(list.map(([name, tensor], key) => [name, pickledTensor(String(key), tensor)])),
    ],
    ['archive/byteorder', Buffer.from('little')],
    ...list.map(([, { bytes }], key): [string, Uint8Array] => [`archive/data/${key}`, bytes]),
  ]);
}

/** A zip archive of files as they are. @param method 0: stored */
export function zip(files: readonly (readonly [string, Uint8Array])[], method = 0): Buffer {
  const locals: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const [name, content] of files) {
    const sizes = code(word(0), word(content.length), word(content.length), half(name.length), half(0));
    const common = code(half(20), half(0), half(method), word(0), sizes);
    const local = Buffer.concat([code('PK\x03\x04', common, name), content]);
    directory.push(code('PK\x01\x02', half(20), common, half(0), half(0), half(0), word(0), word(at), name));
    locals.push(local);
    at += local.length;
  }
  const list = Buffer.concat(directory);
  const count = half(files.length);
  return Buffer.concat([
    ...locals,
    list,
    code('PK\x05\x06', half(0), half(0), count, count, word(list.length), word(at), half(0)),
  ]);
}
