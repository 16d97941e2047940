import assert from 'node:assert/strict';
import { test } from 'node:test';
import { call, infoNCE, Tensor, type InfoNCEOptions, type Loss, type LossOptions } from '../../lib/index.js';
import { assertLikeTwin, rowsOf, tensorOf } from './twins.js';

type Shares = (row: number, other: number) => boolean;
const TEMPERATURE = 0.1;

/** InfoNCE in plain operators on all scores, where pairs of rows that share an identity are left out. */
function plain(
  { symmetric = false, directions = ['query_to_doc'] }: InfoNCEOptions,
  shares: Shares,
  targets?: number[],
): Loss {
  return (...given: (Tensor & LossOptions)[]) => {
    const towers = given.slice(0, -1).map((tower) => tower.normalize());
    const count = towers[0]!.shape[0]!;
    const positive = targets ?? Array.from({ length: count }, (_, row) => row);
    const leaving = (
      rows: Tensor,
      columns: Tensor,
      out: (row: number, column: number) => boolean,
    ): Tensor => {
      const [height, width] = [rows.shape[0]!, columns.shape[0]!];
      const mask = Float64Array.from({ length: height * width }, (_, k) =>
        out(Math.floor(k / width), k % width) ? -1e30 : 0,
      );
      return rows
        .matmul(columns.t())
        .div(TEMPERATURE)
        .add(Tensor.from(mask, { shape: [height, width] }));
    };
    const documents: Tensor = call('aten::cat', towers.slice(1), 0);
    // Every tower here has as many rows as there are anchors, but the last, which is about nothing that is known.
    const about = (document: number): number | null => {
      const tower = Math.floor(document / count);
      return towers[1 + tower]!.shape[0] === count ? document % count : null;
    };
    const candidates = leaving(towers[0]!, documents, (row, document) => {
      const other = about(document);
      return other !== null && other !== row && shares(row, other) && positive[row] !== document;
    });
    const wanted = Tensor.from(positive, { dtype: 'int64' });
    const blocks = [candidates];
    if (directions.includes('query_to_query'))
      blocks.push(leaving(towers[0]!, towers[0]!, (row, other) => row === other || shares(row, other)));
    const forth: Tensor = call('aten::cross_entropy_loss', call('aten::cat', blocks, 1), wanted);
    if (!symmetric) return forth;
    const back = candidates.indexSelect(1, wanted).t();
    const own = Tensor.from(
      Array.from({ length: count }, (_, row) => row),
      { dtype: 'int64' },
    );
    return forth.add(call<Tensor>('aten::cross_entropy_loss', back, own)).div(2);
  };
}

const IDS = ['a', ['b', 'a'], 7, ['c', 7], 'd', ['b', 8]];
const PAIRS = [
  [0, 1],
  [1, 5],
  [2, 3],
];
const shares: Shares = (row, other) =>
  row !== other && PAIRS.some((pair) => pair.includes(row) && pair.includes(other));

test('InfoNCE leaves out the documents of rows that share an identity with the anchor', async () => {
  const pair = [rowsOf(6, 5, 1), rowsOf(6, 5, 2)];
  const uneven = [...pair, rowsOf(6, 5, 3), rowsOf(4, 5, 4)];
  const cases: [string, number[][][], InfoNCEOptions, number[]?][] = [
    ['pairs', pair, {}],
    ['hard negatives', uneven, {}],
    ['both directions', uneven, { symmetric: true }],
    ['query to query', uneven, { directions: ['query_to_doc', 'query_to_query'] }],
    ['targets', uneven, {}, [1, 0, 2, 14, 4, 11]],
    ['a margin of 0 and inner products of unit rows', pair, { margin: 0 }],
  ];
  for (const [what, towers, options, targets] of cases) {
    const loss = infoNCE({ ...options, temperature: TEMPERATURE });
    const given = { ids: IDS, ...(targets && { targets }) };
    await assertLikeTwin(loss, plain(options, shares, targets), towers, given, what);
    const none = { ids: [1, 2, 3, 4, 5, 6], ...(targets && { targets }) };
    await assertLikeTwin(
      loss,
      plain(options, () => false, targets),
      towers,
      none,
      `${what}, all different`,
    );
  }
  // A sharp temperature takes the way without the shared exponential.
  const one = infoNCE({ temperature: 0.001 });
  const [first] = PAIRS[0]!;
  const { loss } = await one.compute(pair.map(tensorOf), 1, { ids: IDS });
  assert.ok(Number.isFinite(loss), `${loss}, ${first}`);
});

test('all rows may share an identity: nothing is left but the positives', async () => {
  const pair = [rowsOf(6, 5, 1), rowsOf(6, 5, 2)].map(tensorOf);
  for (const temperature of [0.1, 0.001]) {
    const result = await infoNCE({ temperature, symmetric: true }).compute(pair, 1, {
      ids: Array(6).fill('x'),
    });
    assert.ok(Math.abs(result.loss) < 1e-12, `${result.loss}`);
    for (const gradient of result.gradients)
      for (const value of (await gradient!.values()) as Float64Array) assert.ok(Math.abs(value) < 1e-12);
  }
});

test('identities that do not fit are refused', async () => {
  const pair = [rowsOf(3, 5, 1), rowsOf(3, 5, 2)].map(tensorOf);
  const refusals: [InfoNCEOptions, unknown, object][] = [
    [{}, ['a'], { code: 'SHAPE', message: /1 ids for 3 rows/ }],
    [{}, 'abc', { code: 'INPUT', message: /ids is "abc"; a list/ }],
    [{}, [1, 2, -1], { code: 'INPUT', message: /identity of row 2 is -1/ }],
    [{ labelSmoothing: 0.1 }, [1, 2, 3], { code: 'INPUT', message: /label smoothing/ }],
  ];
  for (const [options, ids, error] of refusals) {
    const loss = infoNCE(options);
    await assert.rejects(async () => loss.checkOptions?.({ ids }, [3, 3]), error);
    await assert.rejects(loss.compute(pair, 1, { ids }), error);
  }
});
