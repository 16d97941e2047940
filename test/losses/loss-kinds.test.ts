import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseFlags } from '../../lib/cli/parse-flags.js';
import { TRAIN_SECTIONS } from '../../lib/cli/train-flags.js';
import { settingsOf } from '../../lib/cli/train-settings.js';
import { LOSSES, makeLoss, similarityOf, temperatureOf } from '../../lib/losses/loss-kinds.js';
import { SIMILARITIES, TOKEN_SIMILARITIES } from '../../lib/options/similarity.js';
import type { AnySetting } from '../../lib/options/setting-table.js';
import { isNumber, type Bounds } from '../../lib/options/option-values.js';
import type { FilledTrainConfig } from '../../lib/training/read-config.js';
import { readTrainConfig } from '../../lib/training/read-config.js';
import { MUST } from './settings.js';

const LEAST = { model: 'm', data: 'pairs.jsonl', output: 'out', batch: 64 };
const flags = Object.assign({}, ...Object.values(TRAIN_SECTIONS)) as (typeof TRAIN_SECTIONS)[string];

const MODEL = { dimension: 8, device: 'cpu', dtype: 'float64', seed: 1 } as const;

const read = (loss: { kind: string; [name: string]: unknown }) =>
  readTrainConfig({ ...LEAST, loss: { ...MUST[loss.kind], ...loss } }).loss;
const readFlags = (kind: string, args: readonly string[], loss: object = {}): FilledTrainConfig['loss'] => {
  const given = { ...LEAST, loss: { ...MUST[kind], ...loss } };
  return readTrainConfig(settingsOf(parseFlags(flags, ['--loss', kind, ...args]), given)).loss;
};

/** What a setting needs beside it. */
const BESIDE: Readonly<Record<string, object>> = {
  hardnessMode: { hardnessStrength: 0.5 },
  hardnessStrength: { hardnessMode: 'hard_negatives' },
  topK: { similarity: 'xtr' },
  queryRegularizerThreshold: { queryRegularizerWeight: 0.5 },
};

/** A number within bounds that is not the default. */
const oneWithin = (setting: Bounds & { readonly default: unknown }, place = 0): number =>
  [0.5, 0.25, 4, 2, 7].filter((each) => isNumber(each, setting) && each !== setting.default).at(place)!;

/** A value that is not the default, as the configuration and as flags have it. */
function another(setting: AnySetting): { value: unknown; flags: (name: string) => string[] } {
  switch (setting.kind) {
    case 'number':
      return { value: oneWithin(setting), flags: (name) => [`--${name}`, String(oneWithin(setting))] };
    case 'numbers': {
      const value = Array.from({ length: setting.count ?? 2 }, (_, k) => oneWithin(setting, k)).sort();
      return { value, flags: (name) => [`--${name}`, value.join(',')] };
    }
    case 'switch':
      return { value: !setting.default, flags: (name) => [`--${setting.default ? 'no-' : ''}${name}`] };
    case 'text':
      return { value: 'another', flags: (name) => [`--${name}`, 'another'] };
    case 'choice': {
      const value = setting.accepted.find((choice) => choice !== setting.default)!;
      return { value, flags: (name) => [`--${name}`, value] };
    }
    case 'choices': {
      const value = [...setting.accepted];
      return { value, flags: (name) => [`--${name}`, value.join(',')] };
    }
  }
}

for (const [kind, { settings, columns }] of Object.entries(LOSSES)) {
  test(`${kind}: every setting is one of the configuration file and of the command line`, () => {
    const defaults = read({ kind });
    assert.equal(defaults.kind, kind);
    const { temperature } = makeLoss(defaults, MODEL);
    assert.ok(Math.abs((temperatureOf(defaults) ?? 0) - (temperature ?? 0)) < 1e-12);
    assert.ok([...SIMILARITIES, ...TOKEN_SIMILARITIES].includes(similarityOf(defaults)));
    for (const [name, setting] of Object.entries<AnySetting>({ ...settings })) {
      const { value, flags: given } = another(setting);
      const beside = BESIDE[name] ?? {};
      const expected = { ...defaults, ...beside, [name]: value };
      assert.deepEqual(read({ kind, ...beside, [name]: value }), expected, name);
      for (const flag of [`loss.${name}`, setting.flag ?? []].flat()) {
        assert.deepEqual(readFlags(kind, given(flag), beside), expected, flag);
      }
      if (setting.flag !== undefined) {
        const twice = [...given(`loss.${name}`), ...given(setting.flag)];
        assert.throws(() => readFlags(kind, twice, beside), /are the same setting: give one of them/);
      }
      assert.throws(() => read({ kind, [name]: {} }), { path: `config.loss.${name}` });
    }
    assert.throws(
      () => read({ kind, elsewhere: 1 }),
      new RegExp(`config\\.loss\\.elsewhere is not a setting of ${kind}; known are kind`),
    );
    const { least, most = Infinity } = columns;
    const names = (count: number) => Array.from({ length: count }, (_, k) => `c${k}`);
    const wrong = [
      ['anchor', 'anchor'],
      ...(least > 1 ? [names(least - 1)] : []),
      ...(most < 9 ? [names(most + 1)] : []),
    ];
    for (const few of wrong) {
      const config = { ...LEAST, columns: few, loss: { kind, ...MUST[kind] } };
      assert.throws(() => readTrainConfig(config), { message: new RegExp(columns.needed) });
    }
  });
}

test('a loss that is not in the list is refused with those that are', () => {
  assert.throws(
    () => read({ kind: 'triplets' }),
    /config\.loss\.kind is "triplets"; .*Did you mean triplet\?\n.* infonce,/s,
  );
  assert.throws(() => readFlags('triplets', []), { path: 'config.loss.kind' });
});

test('a name of no loss is refused with the one that was meant, and all in lines that a terminal holds', () => {
  assert.throws(
    () => read({ kind: 'info-nca' }),
    (error: Error) => {
      const [first, ...lines] = error.message.split('\n');
      assert.match(
        first!,
        /^config\.loss\.kind is "info-nca"; one of \d+ names is needed\. Did you mean infonce\?$/,
      );
      assert.ok(lines.length > 3 && lines.every((line) => line.length <= 100), error.message);
      assert.deepEqual(lines.join('').trim().split(/,\s+/), Object.keys(LOSSES));
      return true;
    },
  );
});
