import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dataFiles } from '../../lib/hub/data-files.js';
import { dataName } from '../../lib/hub/hub-name.js';

const choose = (name: string, paths: readonly string[], card?: string, usual: string | null = 'train') =>
  dataFiles(
    dataName('data', name),
    new Map(
      [...paths, ...(card === undefined ? [] : ['README.md'])].map((path) => [
        path,
        { path, size: 1, digest: '' },
      ]),
    ),
    async () => Promise.resolve(card ?? ''),
    usual === 'all' ? undefined : usual,
  );

const NLI = [
  'pair/train-00000-of-00001.parquet',
  'triplet/dev-00000-of-00001.parquet',
  'triplet/test-00000-of-00001.parquet',
  'triplet/train-00000-of-00002.parquet',
  'triplet/train-00001-of-00002.parquet',
  'images/train.png',
];
const NLI_CARD = `---
language: en
configs:
- config_name: pair
  data_files:
  - split: train
    path: pair/train-*
- config_name: triplet
  data_files:
  - split: train
    path: triplet/train-*
  - split: dev
    path: ["triplet/dev-*"]
---
# NLI
`;

test('the card of a data set names configurations and splits', async () => {
  assert.deepEqual(await choose('hf:o/nli/triplet', NLI, NLI_CARD), [NLI[3], NLI[4]]);
  assert.deepEqual(await choose('hf:o/nli/triplet:dev', NLI, NLI_CARD), [NLI[1]]);
  assert.deepEqual(await choose('hf:o/nli/triplet', NLI, NLI_CARD, 'all'), [NLI[3], NLI[4], NLI[1]]);
  assert.deepEqual(await choose('hf:o/nli@refs/convert/parquet/pair', NLI, NLI_CARD), [NLI[0]]);
  for (const card of [
    '---\nconfigs:\n- config_name: default\n  data_files: "triplet/train*"\n- config_name: pair\n  data_files: pair/*\n---\n',
    '---\nconfigs:\n- config_name: a\n  data_files: pair/*\n- config_name: b\n  default: true\n  data_dir: triplet\n  data_files: {train: train*}\n---\n',
    '---\nconfigs:\n- data_files: [triplet/train-00000*, "triplet/train-00001*"]\n---\n',
  ])
    assert.deepEqual(await choose('hf:o/nli', NLI, card), [NLI[3], NLI[4]], card);
});

test('without a card, names of files and folders tell splits; folders, files and patterns are parts', async () => {
  assert.deepEqual(await choose('hf:o/d', ['data/train-1.jsonl', 'data/test.jsonl', 'README.md']), [
    'data/train-1.jsonl',
  ]);
  assert.deepEqual(await choose('hf:o/d:validation', ['dev.csv', 'train.csv']), ['dev.csv']);
  assert.deepEqual(await choose('hf:o/d', ['trainers.tsv.gz']), ['trainers.tsv.gz']);
  assert.deepEqual(await choose('hf:o/d/triplet', NLI), [NLI[3], NLI[4]]);
  assert.deepEqual(await choose('hf:o/d/triplet/', NLI), [NLI[3], NLI[4]]);
  assert.deepEqual(await choose(`hf:o/d/${NLI[1]}`, NLI), [NLI[1]]);
  assert.deepEqual(await choose('hf:o/d/**/train-0000[01]-of-0000?.parquet', NLI), [NLI[0], NLI[3], NLI[4]]);
  assert.deepEqual(await choose('hf:o/d/*/dev-*', NLI), [NLI[1]]);
  // Neither broken heads nor strange ones are an error: the files are what counts.
  for (const card of [
    '---\n: [\n---\n',
    '---\nconfigs: 7\n---\n',
    '---\nconfigs: [7, {config_name: 3}]\n---\n',
  ])
    assert.deepEqual(await choose('hf:o/d', ['a.jsonl'], card), ['a.jsonl']);
});

test('what fits nothing, or more than one thing, is refused with what there is', async () => {
  const cases: [name: string, paths: readonly string[], message: RegExp, card?: string, usual?: null][] = [
    ['hf:o/d:dev', ['train.csv', 'test.csv'], /^hf:o\/d has no split "dev"; it has test, train\.$/],
    [
      'hf:o/d',
      ['a/test.csv', 'validation.csv'],
      /has several splits \(test, validation\): name one, as hf:o\/d:test\./,
    ],
    ['hf:o/d', ['train.csv', 'test.csv'], /has several splits/, undefined, null],
    [
      'hf:o/d',
      ['train.csv', 'train.jsonl'],
      /has files in several formats \(csv, jsonl\): name those that are meant, as hf:o\/d\/\*\.csv\./,
    ],
    [
      'hf:o/d/nowhere',
      ['train.csv'],
      /has no configuration, folder or file of data "nowhere" \(.*\); it has train\.csv\./,
    ],
    [
      'hf:o/d',
      ['train.zip', 'x.txt'],
      /has no file of data .*it has train\.zip, x\.txt\. The revision refs\/convert\/parquet/,
    ],
    ['hf:o/d', NLI, /has several configurations \(pair, triplet\): name one, as hf:o\/d\/pair\./, NLI_CARD],
    ['hf:o/d@v2/../x', NLI, /^data is "hf:o\/d@v2\/\.\.\/x"; hf:OWNER\/NAME/],
  ];
  for (const [name, paths, message, card, usual] of cases)
    await assert.rejects(
      async () => choose(name, paths, card, usual),
      (error: Error & { code?: string }) => error.code === 'INPUT' && message.test(error.message),
      name,
    );
});
