import assert from 'node:assert/strict';
import { test } from 'node:test';
import { spanMasking } from '../../lib/index.js';

const TEXT = 'abcdefghijklmnopqrstuvwxyz0123456789';

test('one span of five characters is replaced, everywhere with the same chance, in texts of 30 or more', () => {
  const masked = spanMasking({ mask: '[MASK]', seed: 3 });
  const begins = new Map<number, number>();
  for (let k = 0; k < 3200; k++) {
    const [left, right, ...more] = masked(TEXT)
      .split('[MASK]')
      .map((part) => part.trim());
    assert.deepEqual(more, []);
    assert.equal(left!.length + right!.length, TEXT.length - 5);
    assert.ok(TEXT.startsWith(left!) && TEXT.endsWith(right!));
    begins.set(left!.length, (begins.get(left!.length) ?? 0) + 1);
  }
  assert.equal(begins.size, TEXT.length - 5 + 1);
  for (const count of begins.values()) assert.ok(count > 50 && count < 160, `${count}`);
  assert.equal(masked(TEXT.slice(0, 29)), TEXT.slice(0, 29));
  assert.notEqual(masked(TEXT.slice(0, 30)), TEXT.slice(0, 30));
  assert.equal(masked(''), '');
});

test('characters are code points, and repeated parts stay in their places', () => {
  const text = '🐕'.repeat(30);
  const masked = spanMasking({ mask: '<mask>', characters: 3, least: 30 });
  for (let k = 0; k < 50; k++) {
    const rest = masked(text).replaceAll(/\s|<mask>/g, '');
    assert.equal(rest, '🐕'.repeat(27));
  }
  assert.equal(masked('🐕'.repeat(29)), '🐕'.repeat(29));
});

test('the same seed masks the same spans, another seed others', () => {
  const run = (seed: number) => {
    const masked = spanMasking({ mask: '[MASK]', seed });
    return Array.from({ length: 20 }, () => masked(TEXT));
  };
  assert.deepEqual(run(1), run(1));
  assert.notDeepEqual(run(1), run(2));
  assert.ok(new Set(run(1)).size > 5);
});

test('what is no masking is refused', () => {
  for (const options of [
    {},
    { mask: '' },
    { mask: 'm', characters: 0 },
    { mask: 'm', characters: 6, least: 5 },
    { mask: 'm', seed: -1 },
    { mask: 'm', span: 2 },
  ])
    assert.throws(() => spanMasking(options as never), { code: 'INPUT' }, JSON.stringify(options));
  assert.throws(() => spanMasking({ mask: 'm' })(3 as never), { code: 'INPUT' });
});
