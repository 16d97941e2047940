import { writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { DATA_SETTINGS } from '../../../lib/data/setting-names.js';
import { readTexts } from '../../../lib/evaluation/file-texts.js';
import { readPairs, readRetrievalPairs, readSts } from '../../../lib/index.js';
import { mutateBytes, mutateText } from '../mutations.js';
import { garbage, type Random } from '../random-arguments.js';
import type { Target } from '../target.js';

const rows = [
  ['anchor', 'positive', 'score', 'negative'],
  ['a cat', 'the "cat"', '0.5', 'dogs, two'],
  ['a dog\nof mine', 'é 😀', '3', 'none'],
  ['x', 'y', '1e-3', 'z'],
];
const quoted = (text: string) => (/["\n,]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
const objects = rows.slice(1).map((row) => Object.fromEntries(row.map((text, k) => [rows[0]![k]!, text])));

const bases: Readonly<Record<string, string>> = {
  csv: rows.map((row) => row.map(quoted).join(',')).join('\r\n'),
  tsv: rows.map((row) => row.map((text) => text.replace('\n', ' ')).join('\t')).join('\n'),
  jsonl: objects.map((row) => JSON.stringify(row)).join('\n'),
  ndjson: rows
    .slice(1)
    .map((row) => JSON.stringify(row))
    .join('\n'),
};

/** The content of a file with this base: changed as text, as bytes, or as what it is packed in. */
function content(base: string, packed: boolean, random: Random): Buffer {
  const text = Buffer.from(random.next() < 0.7 ? mutateText(base, random) : base);
  const bytes = random.next() < 0.2 ? mutateBytes(text, random) : text;
  if (!packed) return bytes;
  return random.next() < 0.5 ? gzipSync(bytes) : mutateBytes(gzipSync(bytes), random);
}

/** Options most of which are right, so that files are read with them. */
function options(columns: readonly string[], random: Random): Record<string, unknown> {
  const some: Record<string, unknown> = {};
  const maybe = (name: string, likely: number, values: readonly unknown[]) => {
    if (random.next() < likely) some[name] = random.next() < 0.05 ? garbage(random) : random.pick(values);
  };
  maybe('columns', 0.8, [columns, columns, columns, columns, ['x', 'y'], ['anchor', 'anchor']]);
  maybe('header', 0.2, [true, false, rows[0], ['a', 'b', 'c', 'd']]);
  maybe('quoting', 0.4, ['csv', 'none', 'auto']);
  maybe('format', 0.1, ['csv', 'tsv', 'jsonl', 'parquet']);
  return some;
}

async function drain(items: AsyncIterable<unknown>): Promise<void> {
  for await (const item of items) {
    const texts = typeof item === 'string' ? [item] : Object.values(item as object);
    if (!texts.every((text) => typeof text === 'string'))
      throw new Error(`a row holds ${JSON.stringify(item)}`);
  }
}

const ALL = ['anchor', 'positive', 'score'];

const readers: Readonly<Record<string, (path: string, random: Random) => Promise<unknown>>> = {
  readPairs: (path, random) =>
    drain(
      readPairs(path, {
        ...options(['anchor', 'positive'], random),
        onBadLine: random.pick(['throw', 'skip', 'skip']),
      }),
    ),
  readSts: (path, random) => readSts(path, { columns: ALL, ...options(ALL, random) }),
  readRetrievalPairs: (path, random) => readRetrievalPairs(path, options(['anchor', 'positive'], random)),
  readTexts: (path, random) =>
    drain(readTexts(path, random.pick(['anchor', 'positive', 'x']), { names: DATA_SETTINGS })),
};

/** Tables of texts, plain and gzipped, with every reader of them. */
export const tables: Target = {
  count: 800,
  least: { answered: 120, refused: 200 },
  prepare: () => async (random, tell) => {
    const packed = random.next() < 0.2;
    const [extension, base] = random.pick(Object.entries(bases));
    const path = `file.${extension}${packed ? '.gz' : ''}`;
    writeFileSync(path, content(base, packed, random));
    const [name, read] = random.pick(Object.entries(readers));
    tell(`${name} of ${path}`);
    await read(path, random);
  },
};
