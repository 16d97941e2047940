import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readWordNet, split } from '../../examples/quickstart/wordnet.js';

test('all of WordNet is read, without example sentences, and split without overlap', async () => {
  const definitions = await readWordNet();
  assert.equal(definitions.length, 117_791);
  assert.deepEqual(definitions[0], {
    term: 'entity',
    gloss:
      'that which is perceived or known or inferred to have its own distinct existence (living or nonliving)',
  });
  assert.ok(
    definitions.every(
      ({ term, gloss }) => !gloss.includes('"') && !term.includes('_') && gloss === gloss.trim(),
    ),
  );
  const { train, heldOut } = split(definitions, 2000);
  assert.equal(heldOut.length, 2000);
  assert.equal(train.length + heldOut.length, definitions.length);
  assert.equal(new Set(heldOut.map(({ term }) => term)).size, 2000);
  assert.equal(new Set(heldOut.map(({ gloss }) => gloss)).size, 2000);
  const seen = new Set(train);
  assert.ok(heldOut.every((definition) => !seen.has(definition)));
});
