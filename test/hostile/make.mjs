// Makes the hostile safetensors files beside this script, and rules.json: a part of the message that each must give.
// Run: node test/hostile/make.mjs
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const folder = import.meta.dirname;
const rules = {};

/** A file of a header length (by default the true one), a header and data. */
function safetensors(name, rule, { header, length, data = Buffer.alloc(0) }) {
  const json = Buffer.isBuffer(header) ? header : Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(length ?? BigInt(json.length));
  raw(name, rule, Buffer.concat([prefix, json, data]));
}

function raw(name, rule, bytes) {
  const file = `${name}.safetensors`;
  writeFileSync(join(folder, file), bytes);
  rules[file] = rule;
}

const tensor = (shape, begin, end, dtype = 'F32') => ({ dtype, shape, data_offsets: [begin, end] });
const bytes = (count) => Buffer.alloc(count, 1);

raw('empty', 'fewer than the 8', Buffer.alloc(0));
raw('seven-bytes', 'fewer than the 8', bytes(7));
safetensors('no-header', "must start with '{'", { header: '' });
safetensors('header-beyond-the-file', 'beyond the end of the file', { header: '{}', length: 1000n });
safetensors('header-of-almost-100-mb', 'beyond the end of the file', { header: '{}', length: 100_000_000n });
safetensors('header-over-100-mb', 'at most 100000000', { header: '{}', length: 100_000_001n });
safetensors('header-of-2-to-the-64', 'at most 100000000', { header: '{}', length: 2n ** 64n - 1n });
safetensors('header-of-2-to-the-63', 'at most 100000000', { header: '{}', length: 2n ** 63n });
safetensors('header-cut-off', 'beyond the end of the file', { header: '{"a":{"dtype":"F32"', length: 200n });
safetensors('header-not-utf8', 'not UTF-8', { header: Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d]) });
safetensors('header-not-json', 'not valid JSON', { header: '{"a":}' });
safetensors('header-with-comma-at-the-end', 'not valid JSON', { header: '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},}', data: bytes(1) });
safetensors('header-starts-with-space', "must start with '{'", { header: ' {}' });
safetensors('header-starts-with-byte-order-mark', "must start with '{'", { header: '\ufeff{}' });
safetensors('header-is-an-array', "must start with '{'", { header: '[]' });
safetensors('header-nested-deeply', 'not described by a JSON object', { header: `{"a":${'['.repeat(20_000)}${']'.repeat(20_000)}}` });
safetensors('header-nested-unclosed', 'not valid JSON', { header: `{"a":${'['.repeat(20_000)}` });
safetensors('metadata-is-a-string', 'map strings to strings', { header: { __metadata__: 'pt' } });
safetensors('metadata-holds-a-number', 'map strings to strings', { header: { __metadata__: { format: 1 } } });
safetensors('metadata-holds-an-object', 'map strings to strings', { header: { __metadata__: { format: { a: 'b' } } } });
safetensors('tensor-is-null', 'not described by a JSON object', { header: { a: null } });
safetensors('tensor-without-dtype', 'supported dtypes are', { header: { a: { shape: [1], data_offsets: [0, 4] } }, data: bytes(4) });
safetensors('tensor-without-shape', 'every dimension', { header: { a: { dtype: 'F32', data_offsets: [0, 4] } }, data: bytes(4) });
safetensors('tensor-without-offsets', 'two whole numbers', { header: { a: { dtype: 'F32', shape: [1] } }, data: bytes(4) });
safetensors('dtype-unknown', 'supported dtypes are', { header: { a: tensor([1], 0, 4, 'F33') }, data: bytes(4) });
safetensors('dtype-f8', 'supported dtypes are', { header: { a: tensor([4], 0, 4, 'F8_E4M3') }, data: bytes(4) });
safetensors('dtype-is-a-property-of-objects', 'supported dtypes are', { header: { a: tensor([4], 0, 4, 'constructor') }, data: bytes(4) });
safetensors('shape-negative', 'every dimension', { header: { a: tensor([-1], 0, 4) }, data: bytes(4) });
safetensors('shape-twice-negative', 'every dimension', { header: { a: tensor([-1, -1], 0, 4) }, data: bytes(4) });
safetensors('shape-fractional', 'every dimension', { header: { a: tensor([0.5, 2], 0, 4) }, data: bytes(4) });
safetensors('shape-nested-deeply', 'every dimension', { header: `{"a":{"dtype":"F32","shape":${'['.repeat(20_000)}${']'.repeat(20_000)},"data_offsets":[0,4]}}`, data: bytes(4) });
safetensors('shape-of-strings', 'every dimension', { header: { a: tensor(['1'], 0, 4) }, data: bytes(4) });
safetensors('shape-of-infinity', 'every dimension', { header: '{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}', data: bytes(4) });
safetensors('shape-product-wraps-to-the-size', 'needs Infinity bytes', { header: { a: tensor([4294967296, 4294967296, 4294967296], 0, 4) }, data: bytes(4) });
safetensors('shape-larger-than-its-bytes', 'needs 8 bytes', { header: { a: tensor([2], 0, 4) }, data: bytes(4) });
safetensors('shape-smaller-than-its-bytes', 'needs 4 bytes', { header: { a: tensor([1], 0, 8) }, data: bytes(8) });
safetensors('scalar-of-eight-bytes', 'needs 4 bytes', { header: { a: tensor([], 0, 8) }, data: bytes(8) });
safetensors('offsets-negative', 'two whole numbers', { header: { a: tensor([1], -4, 0) }, data: bytes(4) });
safetensors('offsets-fractional', 'two whole numbers', { header: { a: tensor([1], 0.5, 4.5) }, data: bytes(8) });
safetensors('offsets-of-three', 'two whole numbers', { header: { a: { dtype: 'F32', shape: [1], data_offsets: [0, 4, 4] } }, data: bytes(4) });
safetensors('offsets-backwards', 'before it begins', { header: { a: tensor([1], 4, 0) }, data: bytes(4) });
safetensors('offsets-beyond-the-file', 'of a data part of 4 bytes', { header: { a: tensor([2], 0, 8) }, data: bytes(4) });
safetensors('offsets-far-beyond-the-file', 'of a data part of 4 bytes', { header: { a: tensor([2 ** 40], 0, 2 ** 42) }, data: bytes(4) });
safetensors('offsets-overlap', 'overlaps', { header: { a: tensor([2], 0, 8), b: tensor([2], 4, 12) }, data: bytes(12) });
safetensors('offsets-the-same', 'overlaps', { header: { a: tensor([1], 0, 4), b: tensor([1], 0, 4) }, data: bytes(4) });
safetensors('offsets-with-a-hole', 'leaves a hole', { header: { a: tensor([1], 0, 4), b: tensor([1], 8, 12) }, data: bytes(12) });
safetensors('offsets-with-a-hole-at-the-start', 'leaves a hole', { header: { a: tensor([1], 4, 8) }, data: bytes(8) });
safetensors('bytes-after-the-last-tensor', '4 bytes at its end', { header: { a: tensor([1], 0, 4) }, data: bytes(8) });
safetensors('bytes-without-tensors', '4 bytes at its end', { header: {}, data: bytes(4) });
safetensors('data-cut-off', 'of a data part of 3 bytes', { header: { a: tensor([1], 0, 4) }, data: bytes(3) });
const twice = '"dtype":"F32","shape":[1],"data_offsets"';
safetensors('name-twice', '"a" occurs twice', { header: `{"a":{${twice}:[0,4]},"a":{${twice}:[4,8]}}`, data: bytes(8) });
safetensors('name-twice-once-escaped', '"a" occurs twice', { header: `{"a":{${twice}:[0,4]},"\\u0061":{${twice}:[0,4]}}`, data: bytes(4) });
safetensors('field-twice', '"dtype" occurs twice', { header: `{"a":{"dtype":"U8",${twice}:[0,4]}}`, data: bytes(4) });
safetensors('metadata-twice', '"__metadata__" occurs twice', { header: '{"__metadata__":{"a":"b"},"__metadata__":{"a":"c"}}' });
safetensors('name-is-half-a-surrogate-pair', 'not valid Unicode', { header: `{"\\ud800":{${twice}:[0,4]}}`, data: bytes(4) });
safetensors('name-is-a-prototype-with-bad-shape', 'every dimension', { header: '{"__proto__":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', data: bytes(4) });
safetensors('tensor-is-described-by-its-prototype', 'supported dtypes are', { header: `{"a":{"__proto__":{${twice}:[0,4]}}}`, data: bytes(4) });

writeFileSync(join(folder, 'rules.json'), `${JSON.stringify(rules, null, 2)}\n`);
