import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import * as gradcache from '../../lib/index.js';
import type { LossKind } from '../../lib/losses/loss-kind.js';
import { LOSSES } from '../../lib/losses/loss-kinds.js';
import type { AnySetting } from '../../lib/options/setting-table.js';
import { pairs, root, saveTinyModel, temporaryFolder, TINY_CONFIG } from '../training/support.js';

// The table of losses: each is there, with all that it takes, and its example computes a step.

const readme = readFileSync(join(root, 'README.md'), 'utf8');
const [, section = ''] = /^## Losses\n(.*?)^## /ms.exec(readme) ?? [];
type Row = [string, string, string, string, string, string];

/** The rows of a table of the section, which its first heading tells. */
function rowsOf(heading: string): Row[] {
  const [, table = ''] = new RegExp(`^\\| ${heading} (.*?)^(?!\\|)`, 'ms').exec(section) ?? [];
  return table
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map(
      (line) =>
        line
          .slice(1, -1)
          .split('|')
          .map((cell) => cell.trim()) as Row,
    );
}

const rows = rowsOf('Loss');
const byHand = rowsOf('By hand');

const kinds = new Map(Object.entries(LOSSES as unknown as Record<string, LossKind<Record<string, unknown>>>));
const shown = (value: AnySetting['default']): string =>
  value === null
    ? 'none'
    : typeof value === 'object'
      ? value.join(', ')
      : String(typeof value === 'number' ? Number(value.toPrecision(4)) : value);

test('the table has every loss of the list, and each of its settings with its default', () => {
  assert.deepEqual(rows.map(([, name]) => name).sort(), [...kinds.keys()].sort());
  for (const [, name, , , , settings] of rows) {
    const expected = Object.entries<AnySetting>({ ...kinds.get(name)!.settings });
    assert.equal(
      settings,
      expected.map(([key, { default: value }]) => `\`${key}\` ${shown(value)}`).join('; '),
      name,
    );
  }
});

test('the example of each row computes a step', async (t) => {
  const tokenizer = await gradcache.Tokenizer.fromFile(
    join(root, 'examples', 'quickstart', 'tokenizer.json'),
  );
  const make = (pooling: 'mean' | 'none' | 'splade') =>
    gradcache.TextEncoder.create(TINY_CONFIG, tokenizer, { pooling, seed: 2 });
  const models = { mean: make('mean'), none: make('none'), splade: make('splade') };
  t.after(() => Object.values(models).forEach((each) => each.dispose()));
  const texts = pairs(12);
  const columns = [
    texts.map(({ anchor }) => anchor),
    texts.map(({ positive }) => positive),
    texts.map(({ positive }) => `${positive} or not`),
  ];
  for (const [code, name] of rows) {
    const { pairs: how } = kinds.get(name)!;
    if (how !== undefined) {
      await computesPairs(runExample(code, {}), name, how, columns);
      continue;
    }
    const { columns: needed, label, perToken = false, sparse = false } = kinds.get(name)!;
    const model = perToken ? models.none : sparse ? models.splade : models.mean;
    const loss = runExample(code, { model });
    const used = columns.slice(0, needed.least);
    const labels = {
      number: texts.map((_, row) => row % 2),
      class: texts.map((_, row) => row % 3),
      numbers: texts.map((_, row) =>
        Array.from({ length: used.length > 1 ? used.length - 1 : 16 }, (_, k) => row - k),
      ),
    };
    const encoders = used.map(() => model);
    const step = new gradcache.GradCache<readonly gradcache.TextEncoder[]>({
      encoders,
      loss,
      chunk: { sequences: 5 },
    });
    const result = await step.step(
      used.map((column, tower) =>
        model.tokenize(column, perToken ? { task: tower === 0 ? 'query' : 'document' } : {}),
      ),
      {
        loss: { ...(label && { labels: labels[label.type] }), ...(name === 'gist-embed' && { texts: used }) },
      },
    );
    assert.ok(Number.isFinite(result.loss), `${name}: ${result.loss}`);
    const gradients = await Promise.all(
      model.parameters().map(async ({ tensor }) => (await tensor.grad!.values()) as Float32Array),
    );
    assert.ok(
      gradients.some((values) => values.some((value) => value !== 0)),
      name,
    );
  }
});

/** The loss of an example, with what it names. */
function runExample(code: string, named: Readonly<Record<string, unknown>>): gradcache.Loss {
  const all = { ...gradcache, ...named };
  // eslint-disable-next-line @typescript-eslint/no-implied-eval -- the README is what is tested
  const run = new Function(...Object.keys(all), `return ${code.slice(1, -1)};`) as (
    ...given: unknown[]
  ) => gradcache.Loss;
  return run(...Object.values(all));
}

/** What `lib/index.ts` exports of `lib/losses` besides losses. */
const NO_LOSSES = ['loadLoss', 'saveLoss', 'regularizerWarmUp', 'targetDistribution'];

test('every loss that the package exports has a row', () => {
  const index = readFileSync(join(root, 'lib', 'index.ts'), 'utf8');
  const exported = [...index.matchAll(/^export \{([^}]*)\} from '\.\/losses\//gm)]
    .flatMap(([, names]) => names!.split(','))
    .map((name) => name.trim())
    .filter((name) => name !== '' && !name.startsWith('type '));
  assert.ok(exported.length > 40);
  const shownAs = [...rows, ...byHand].map(([code]) => /^`(\w+)/.exec(code)![1]!);
  assert.deepEqual([...new Set(shownAs)].sort(), exported.filter((name) => !NO_LOSSES.includes(name)).sort());
});

test('a row of a loss without a name has each of its options', () => {
  const examples = { model: { layers: [2, 0] }, centres: centresOf(), head: productHead() };
  for (const [code, , , , , settings] of byHand) {
    const name = /^`(\w+)/.exec(code)![1]!;
    const taken = optionsOf(code, examples);
    const given = [...settings.matchAll(/`(\w+)`/g)].map(([, option]) => option!);
    const both =
      name === 'matryoshka2d'
        ? [...optionsOf(byHand[0]![0], examples), ...optionsOf(byHand[1]![0], examples)]
        : [];
    assert.deepEqual([...new Set([...given, ...both])].sort(), [...taken].sort(), name);
  }
});

/** The names of the options that the function of an example takes, by its refusal of another one. */
function optionsOf(code: string, named: Readonly<Record<string, unknown>>): string[] {
  const inside = code.slice(1, -1);
  const options = /\{.*\}\)$/.test(inside)
    ? inside.replace(/ ?\}\)$/, ', elsewhere: 1 })')
    : inside.replace(/\)$/, inside.endsWith('()') ? '{ elsewhere: 1 })' : ', { elsewhere: 1 })');
  try {
    runExample(`\`${options}\``, named);
  } catch (error) {
    return /; it takes (.*)$/.exec((error as Error).message)![1]!.split(', ');
  }
  return [];
}

const centresOf = (): gradcache.Tensor =>
  gradcache.Tensor.from(
    Float32Array.from({ length: 48 }, (_, k) => Math.sin(k)),
    { shape: [3, 16] },
  );

/** A head of one weight: the dot product times it. */
function productHead(): gradcache.DistanceHead {
  const weight = gradcache.Tensor.from(Float32Array.of(1));
  weight.requiresGrad = true;
  return {
    forward: (anchors, candidates) => anchors.matmul(candidates.t()).mul(weight),
    parameters: () => [{ name: 'head.weight', tensor: weight, decay: false }],
  };
}

test('the example of each row of a loss without a name computes a step', async (t) => {
  const folder = await saveTinyModel(await temporaryFolder(t));
  const [model, other] = [await gradcache.TextEncoder.load(folder), await gradcache.TextEncoder.load(folder)];
  const layered = await gradcache.TextEncoder.load(folder, { layers: 'all' });
  t.after(() => [model, other, layered].forEach((each) => each.dispose()));
  const texts = pairs(12);
  const labels = texts.map((_, row) => row % 2);
  /** What a loss takes where it is not two towers of one encoder. */
  const needs: Record<string, { encoders?: gradcache.TextEncoder[]; loss?: gradcache.LossOptions }> = {
    adaptiveLayer: { encoders: [layered, layered] },
    matryoshka2d: { encoders: [layered, layered] },
    contrastiveTension: { encoders: [model, other], loss: { labels } },
    contrastiveTensionInBatch: { encoders: [model, other] },
    pairWeighting: { encoders: [model], loss: { labels } },
    flops: { encoders: [model] },
  };
  for (const [code] of byHand) {
    const name = /^`(\w+)/.exec(code)![1]!;
    const { encoders = [model, model], loss: keywords = {} } = needs[name] ?? {};
    const loss = runExample(code, { model: encoders[0]!, centres: centresOf(), head: productHead() });
    const step = new gradcache.GradCache<readonly gradcache.TextEncoder[]>({
      encoders,
      loss,
      chunk: { sequences: 5 },
    });
    const columns = [texts.map(({ anchor }) => anchor), texts.map(({ positive }) => positive)];
    const inputs = encoders.map((encoder, tower) => encoder.tokenize(columns[tower]!));
    const result = await step.step(inputs, { loss: keywords });
    assert.ok(Number.isFinite(result.loss), `${name}: ${result.loss}`);
    const gradients = await Promise.all(
      encoders[0]!.parameters().map(async ({ tensor }) => (await tensor.grad!.values()) as Float32Array),
    );
    assert.ok(
      gradients.some((values) => values.some((value) => value !== 0)),
      name,
    );
  }
});

/** A step of a loss of a cross-encoder: pairs of the first two columns, or lists of three documents. */
async function computesPairs(
  loss: gradcache.Loss,
  name: string,
  { rows: kind, labels }: NonNullable<LossKind<never>['pairs']>,
  [queries, first, second]: readonly (readonly string[])[],
): Promise<void> {
  const tokenizer = await gradcache.Tokenizer.fromFile(
    join(root, 'examples', 'quickstart', 'tokenizer.json'),
  );
  using model = gradcache.CrossEncoder.create(TINY_CONFIG, tokenizer, { labels: labels === 'one' ? 1 : 3 });
  const pairsOf = (documents: (row: number) => readonly string[]) =>
    queries!.flatMap((query, row) => documents(row).map((text): gradcache.TextPair => [query, text]));
  const alone = kind === 'pair';
  const inputs = pairsOf((row) =>
    alone ? [first![row]!] : [first![row]!, second![row]!, first!.at(-1 - row)!],
  );
  const needed = kinds.get(name)!.label;
  const numbers = inputs.map((_, pair) => (alone ? pair % (labels === 'one' ? 2 : 3) : (pair % 3) - 1));
  const step = new gradcache.GradCache({ encoders: [model], loss, chunk: { sequences: 5 } });
  const result = await step.step([model.tokenize(inputs)], {
    loss: { ...(!alone && { lists: queries!.map(() => 3) }), ...(needed && { labels: numbers }) },
  });
  assert.ok(Number.isFinite(result.loss), `${name}: ${result.loss}`);
  const classifier = model.parameters().find((each) => each.name === 'classifier.weight')!;
  const gradient = (await classifier.tensor.grad!.values()) as Float32Array;
  assert.ok(
    gradient.some((value) => value !== 0),
    name,
  );
}
