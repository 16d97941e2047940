import assert from 'node:assert/strict';
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { backward, call, noGrad, schema, Tensor, type DType } from '../../lib/index.js';
import { loadAddon } from '../../lib/addon/runtime/load.js';
import { device } from '../exactness/support.js';
import { assertClose } from '../oracle/compare.js';
import { fails } from '../robustness/failures.js';
import {
  evenCases,
  leaves,
  none,
  normals,
  oddCases,
  outputAndGradients,
  some,
  valuesFor,
} from './support.js';

const random = (shape: readonly number[], dtype: DType = 'float32'): Tensor =>
  Tensor.from(
    normals(
      shape.reduce((product, n) => product * n, 1),
      5,
    ),
    { shape, device },
  ).to({ dtype });
const int64 = (values: readonly number[]): Tensor => Tensor.from(values, { dtype: 'int64', device });

test('the operators are known to libtorch', () => {
  assert.match(
    schema('gradcache::dropout'),
    /^gradcache::dropout\(Tensor x, float p, int seed, int site=0\)/,
  );
  for (const name of ['norm', 'activation', 'gate', 'attention', 'pool', 'embed'])
    assert.match(schema(`gradcache::${name}`), /-> Tensor$/);
  assert.match(schema('gradcache::sru'), /-> \(Tensor h, Tensor last\)$/);
});

test('a second copy of the addon in the process leaves the operators as they are', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'gradcache-'));
  try {
    const copy = join(folder, 'copy.node');
    await copyFile(loadAddon().addonPath, copy);
    const before = call('gradcache::dropout', random([3, 4]), 0.5, 1).valuesSync();
    createRequire(import.meta.url)(copy);
    assert.deepEqual(call('gradcache::dropout', random([3, 4]), 0.5, 1).valuesSync(), before);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('rows must be a dense matrix of floating numbers with something in it', () => {
  const dropout = (x: unknown) => () => call('gradcache::dropout', x, 0.1, 1);
  for (const shape of [[], [4], [2, 3, 4], [0, 4], [4, 0]])
    assert.throws(
      dropout(call('aten::ones', shape, { dtype: 'float32', device })),
      fails('SHAPE', /x has shape/),
    );
  for (const dtype of ['int64', 'int8', 'bool'] as const)
    assert.throws(dropout(call('aten::ones', [2, 3], { dtype, device })), fails('DTYPE', /x has type/));
  assert.throws(dropout(0.5), fails('SHAPE'));
  assert.throws(dropout(1), fails('DTYPE'));
});

test('a share dropped must be at least 0 and below 1', () => {
  for (const p of [-0.1, 1, 1.5, NaN, Infinity, -Infinity, 1 - 2 ** -20])
    assert.throws(() => call('gradcache::dropout', random([2, 3]), p, 1), fails('INPUT', /below 1/));
});

test('what is added to rows and what scales them must fit', () => {
  const x = random([3, 4]);
  const h = random([4]);
  const norm =
    (...args: unknown[]) =>
    () =>
      call('gradcache::norm', ...args, 0, 1);
  assert.throws(norm(x, null, null, random([5]), h, 1e-5), fails('SHAPE', /scale has shape/));
  assert.throws(norm(x, null, null, h, random([1, 4]), 1e-5), fails('SHAPE', /shift has shape/));
  assert.throws(norm(x, random([3]), null, h, h, 1e-5), fails('SHAPE', /bias has shape/));
  assert.throws(norm(x, null, random([4, 3]), h, h, 1e-5), fails('SHAPE', /residual has shape/));
  assert.throws(norm(x, null, random([3, 4], 'float64'), h, h, 1e-5), fails('DTYPE', /residual has type/));
  assert.throws(norm(x, null, null, random([4], 'float64'), h, 1e-5), fails('DTYPE', /scale has type/));
  for (const epsilon of [-1, NaN, Infinity])
    assert.throws(norm(x, null, null, h, h, epsilon), fails('INPUT', /epsilon/));
  assert.throws(
    () => call('gradcache::activation', x, random([3]), 'gelu'),
    fails('SHAPE', /bias has shape/),
  );
  assert.throws(
    () => call('gradcache::activation', x, h, 'swish'),
    fails('INPUT', /gelu, gelu_tanh, relu or silu/),
  );
});

test('offsets must rise from 0 to the number of tokens, and heads divide the features', () => {
  const qkv = random([6, 24]);
  const attention =
    (offsets: readonly number[], heads: number, bias: Tensor | null = null) =>
    () =>
      call('gradcache::attention', qkv, offsets, heads, bias, 0, 1);
  const pool = (offsets: readonly number[]) => () => call('gradcache::pool', qkv, offsets, 'mean', true);
  for (const offsets of [
    [],
    [0],
    [6],
    [0, 5],
    [1, 6],
    [0, 3, 3, 6],
    [0, 4, 2, 6],
    [0, -3, 6],
    [0, 2 ** 40, 6],
  ]) {
    assert.throws(attention(offsets, 2), fails('SHAPE', /offsets/));
    assert.throws(pool(offsets), fails('SHAPE', /offsets/));
  }
  for (const heads of [0, -1, 3, 9, 2 ** 40])
    assert.throws(attention([0, 6], heads), fails('SHAPE', /heads/));
  assert.throws(
    () => call('gradcache::attention', random([6, 8]), [0, 6], 2, null, 0, 1),
    fails('SHAPE', /heads/),
  );
  assert.throws(attention([0, 2, 6], 2, random([2, 11])), fails('SHAPE', /distance_bias/));
  assert.throws(attention([0, 6], 2, random([1, 11])), fails('SHAPE', /distance_bias/));
});

test('pooling has six kinds and takes rows', () => {
  const x = random([6, 4]);
  const pool =
    (rows: unknown, kind: unknown = 'mean', normalize: unknown = true) =>
    () =>
      call('gradcache::pool', rows, [0, 6], kind, normalize);
  for (const kind of ['', 'MEAN', 'median'])
    assert.throws(pool(x, kind), fails('INPUT', /mean, cls, max, last, mean-sqrt-length or weighted-mean/));
  assert.throws(pool(random([6])), fails('SHAPE', /x has shape/));
  assert.throws(pool(x.to({ dtype: 'int64' })), fails('DTYPE', /x has type/));
  for (const args of [[null], [x, null], [x, 'mean', 'yes']] as const)
    assert.throws(pool(...(args as [unknown])), fails(['DTYPE', 'OPERATOR']));
});

test('indices must be one for each token and, on the CPU, within the table', () => {
  const [words, positions, h] = [random([5, 4]), random([3, 4]), random([4])];
  const embed =
    (ids: Tensor, places: Tensor, table = positions) =>
    () =>
      call('gradcache::embed', words, table, null, ids, places, h, h, 1e-5, 0, 1);
  assert.throws(embed(int64([1, 2]), int64([0])), fails('SHAPE', /places/));
  assert.throws(embed(int64([]), int64([])), fails('SHAPE', /ids/));
  assert.throws(embed(int64([1, 2]).reshape([1, 2]), int64([0, 1])), fails('SHAPE', /ids/));
  assert.throws(embed(random([2]), int64([0, 1])), fails('DTYPE', /ids has type/));
  assert.throws(embed(int64([1]), int64([0]), random([3, 5])), fails('SHAPE', /positions/));
  if (device !== 'cpu') return;
  assert.throws(
    embed(int64([1, 5]), int64([0, 1])),
    fails('INPUT', /ids holds 5, the table has rows 0 to 4/),
  );
  assert.throws(embed(int64([1, -1]), int64([0, 1])), fails('INPUT', /ids holds -1/));
  assert.throws(embed(int64([1, 2]), int64([0, 3])), fails('INPUT', /places holds 3/));
});

test('narrow integers serve as indices', () => {
  const h = random([4]);
  const run = (dtype: DType) =>
    call(
      'gradcache::embed',
      ...[random([5, 4]), random([3, 4]), h, int64([4, 0]).to({ dtype }), int64([0, 2]).to({ dtype })],
      ...[h, h, 1e-5, 0, 1],
    ).valuesSync();
  assert.deepEqual(run('int32'), run('int64'));
});

/** The same numbers, laid out or noted in another way. */
const disguises: readonly [string, (tensor: Tensor) => Tensor][] = [
  ['transposed', (t) => (t.shape.length === 2 ? t.t().clone().t() : t)],
  ['every other element', (t) => call('aten::select.int', call('aten::stack', [t, t.neg()], -1), -1, 0)],
  [
    'not aligned',
    (t) => {
      const flat = t.reshape([-1]);
      return call<Tensor>('aten::cat', [flat.narrow(0, 0, 1), flat])
        .narrow(0, 1, t.size)
        .reshape(t.shape);
    },
  ],
  ['negated without being computed', (t) => call('aten::_neg_view', t.neg())],
];

for (const operator of [...oddCases, ...evenCases]) {
  test(`${operator.name}: the layout of the inputs does not matter`, async () => {
    const values = valuesFor(operator);
    const plain = await outputAndGradients(leaves(operator, values, 'float32'), (inputs) =>
      operator.run(inputs, some),
    );
    for (const [what, disguise] of disguises) {
      const found = await outputAndGradients(leaves(operator, values, 'float32'), (inputs) =>
        operator.run(
          Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, disguise(tensor)])),
          some,
        ),
      );
      for (const [name, expected] of plain) assertClose(found.get(name)!, expected, 1e-6, `${what}: ${name}`);
    }
  });

  test(`${operator.name}: without a graph the output is the same`, () => {
    const inputs = leaves(operator, valuesFor(operator), 'float32');
    const recorded = operator.run(inputs, some);
    const plain = noGrad(() => operator.run(inputs, some));
    assert.deepEqual([recorded.requiresGrad, plain.requiresGrad], [true, false]);
    assert.deepEqual(plain.valuesSync(), recorded.valuesSync());
  });

  test(`${operator.name}: inputs that need no gradient get none, and the others the same`, async () => {
    const values = valuesFor(operator);
    const all = await outputAndGradients(leaves(operator, values, 'float64'), (inputs) =>
      operator.run(inputs, some),
    );
    for (const name of Object.keys(operator.shapes)) {
      const inputs = leaves(operator, values, 'float64');
      for (const [other, tensor] of Object.entries(inputs)) tensor.requiresGrad = other === name;
      const found = await outputAndGradients({ [name]: inputs[name]! }, () => operator.run(inputs, some));
      assert.deepEqual(found.get(name), all.get(name));
      for (const [other, { grad }] of Object.entries(inputs)) assert.equal(grad === null, other !== name);
    }
  });
}

test('float32 parameters beside bfloat16 rows have float32 gradients, unrounded', async () => {
  const [x, residual] = [random([300, 64], 'bfloat16'), random([300, 64], 'bfloat16')];
  const [bias, scale, shift] = [0, 1, 2].map((k) =>
    Tensor.from(normals(64, k), { device }).to({ dtype: 'bfloat16' }).to({ dtype: 'float32' }),
  ) as [Tensor, Tensor, Tensor];
  const parameters = [bias, scale, shift];
  for (const tensor of parameters) tensor.requiresGrad = true;
  await backward([call('gradcache::norm', x, bias, residual, scale, shift, 1e-5, 0.1, 1).sum()], [null]);
  for (const { grad } of parameters) assert.equal(grad!.dtype, 'float32');
  // The gradient of the shift is the number of rows, which bfloat16 cannot tell from its neighbours.
  assert.deepEqual([...new Set(shift.grad!.valuesSync() as Float32Array)], [300]);
});

test('tensors of zeros without memory are zeros', () => {
  const zeros: Tensor = call('aten::_efficientzerotensor', [3, 4], { dtype: 'float32', device });
  const h = random([4]);
  assert.deepEqual(
    call('gradcache::norm', zeros, null, null, h, h, 1e-5, 0, 1).valuesSync(),
    call<Tensor>('aten::expand', h, [3, 4]).valuesSync(),
  );
});

test('a graph serves one backward, and only with the inputs it was made from', async () => {
  const operator = oddCases[1]!;
  const inputs = leaves(operator, valuesFor(operator), 'float32');
  const output = operator.run(inputs, none).sum();
  await backward([output], [null]);
  await assert.rejects(backward([output], [null]), fails(['INPUT', 'OPERATOR']));
  const changed = operator.run(inputs, none).sum();
  noGrad(() => call('aten::zero_', inputs.scale!));
  await assert.rejects(backward([changed], [null]), fails('OPERATOR', /modified by an inplace operation/));
});
