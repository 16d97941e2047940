import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { TextEncoder } from '../../lib/index.js';
import { largestDifference } from './compare.js';
import { architectures, Oracle } from './oracle.js';

let oracle: Oracle;
let texts: string[];

before(async () => {
  oracle = new Oracle();
  texts = await oracle.sentences(3, 5, 2, 9);
});

after(() => oracle.close());

/** What training takes of the texts, without dropout: [texts, layers x dimension]. */
async function rowsOf(encoder: TextEncoder): Promise<Float64Array[]> {
  const batch = await encoder.tokenize(texts);
  const chunk = { batch, rows: Int32Array.from(texts.keys()), tokens: batch.ids.length };
  const { representations } = await encoder.forwardChunk(chunk, { seed: 0, evaluation: true });
  const values = (await representations.values()) as Float64Array;
  const width = encoder.trainedDimension;
  assert.deepEqual(representations.shape, [texts.length, width]);
  return texts.map((_, row) => values.subarray(row * width, (row + 1) * width));
}

for (const name of architectures) {
  test(`${name} gives the representations of its layers that transformers gives`, async () => {
    const folder = await oracle.saveTransformer(name, `layers-${name}`);
    const expected = await oracle.layerRows(folder, texts);
    const encoder = await TextEncoder.load(folder, { precision: 'float64', layers: 'all' });
    const depth = expected.length - 1;
    assert.deepEqual(encoder.layers, [depth, ...Array.from({ length: depth }, (_, layer) => layer)]);
    const rows = await rowsOf(encoder);
    const { dimension } = encoder;
    for (const [place, layer] of encoder.layers.entries())
      for (const [row, numbers] of rows.entries()) {
        const ours = numbers.subarray(place * dimension, (place + 1) * dimension);
        const error = largestDifference(ours, expected[layer]![row]!);
        const largest = Math.max(...expected[layer]![row]!.map(Math.abs));
        assert.ok(error <= 1e-10 * largest, `layer ${layer}: largest difference ${error}`);
      }
    // The last layer alone is what others take.
    const encoded = (await (await encoder.encode(texts)).values()) as Float64Array;
    const last = rows.flatMap((row) => [...row.subarray(0, dimension)]);
    assert.ok(largestDifference(encoded, last) <= 1e-12 * Math.max(...last.map(Math.abs)));
    encoder.dispose();
  });
}
