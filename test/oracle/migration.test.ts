/** docs/from-sentence-transformers.md: each pair of programs runs, and what they compute is the same. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { CrossEncoder } from '../../lib/encoders/cross-encoder.js';
import { gradcache } from '../cli/program.js';
import { blocks, consumer, node } from '../package/pages.js';
import { pairs, saveTinyModel, writeRows } from '../training/support.js';
import { miniLM, runPython } from './python.js';

const PAGE = 'docs/from-sentence-transformers.md';

/** A batch that the 60 pairs of the test fill. */
const small = (code: string): string => code.replaceAll('1024', '30');

/** What both sides came to. */
interface Figures {
  readonly vectors: readonly number[];
  readonly products: readonly number[];
  readonly ndcg: number;
  readonly spearman: number;
  readonly scores: readonly number[];
  readonly ranked: readonly number[];
}

/** Runs all Python of the page as one program. */
async function python(
  folder: string,
): Promise<Figures & { steps: number; mined: readonly Record<string, string>[] }> {
  const code = blocks(PAGE, 'python').map((block) =>
    small(block).replace('model.push_to_hub("owner/name")\n', ''),
  );
  const environment = { CUDA_VISIBLE_DEVICES: '' };
  const came = await runPython('test/oracle/migration.py', [], { environment, folder, input: code });
  return came as Awaited<ReturnType<typeof python>>;
}

/** What each TypeScript block of the page came to, beside what it prints. */
const NOTED: Readonly<Record<number, string>> = {
  0: `noted.vectors = [...(await vectors.values())];
noted.products = [...(await queries.matmul(documents.transpose(0, 1)).values())];`,
  3: 'noted.ndcg = search.ndcg10; noted.spearman = similarity.spearman;',
  4: 'noted.matryoshka = loss.constructor.name;',
  5: 'noted.scores = [...scores]; noted.ranked = ranked.map(({ index }) => index);',
};

/** Runs all TypeScript of the page in one process. */
async function typescript(folder: string): Promise<Figures> {
  const code = blocks(PAGE, 'ts').map(
    (block, place) => `${small(block)}\nconst noted = (globalThis.noted ??= {});\n${NOTED[place] ?? ''}\n`,
  );
  await Promise.all(code.map((block, place) => writeFile(join(folder, `block-${place}.mjs`), block)));
  const imports = code.map((_, place) => `await import('./block-${place}.mjs');`);
  await writeFile(
    join(folder, 'all.mjs'),
    [...imports, 'console.log(JSON.stringify(globalThis.noted));'].join('\n'),
  );
  return JSON.parse(node(folder, 'all.mjs').trim().split('\n').at(-1)!) as Figures;
}

/** The commands of the page that train, mine and measure, in order. */
const commands = blocks(PAGE, 'sh').flatMap((block) =>
  [
    ...small(block)
      .replaceAll('\\\n', ' ')
      .matchAll(/npx gradcache ((?:train|mine) .*)/g),
  ].map(([, rest]) => rest!.trim().split(/\s+/)),
);

const near = (a: readonly number[], b: readonly number[], within: number): void => {
  assert.equal(a.length, b.length);
  for (const [place, value] of a.entries()) assert.ok(Math.abs(value - b[place]!) <= within, `${value}`);
};

test('each pair of programs runs, and their figures are the same', async (t) => {
  const folder = await consumer(t);
  await symlink(miniLM, join(folder, 'all-MiniLM-L6-v2'));
  await writeRows(join(folder, 'pairs.jsonl'), pairs());
  const reranker = await CrossEncoder.load(await saveTinyModel(join(folder, 'tiny')), {
    newHead: { labels: 1 },
  });
  await reranker.save(join(folder, 'reranker'));
  reranker.dispose();

  const theirs = await python(folder);
  assert.equal(theirs.steps, 2);
  assert.ok(existsSync(join(folder, 'runs', 'python', 'final', 'modules.json')));

  const ours = await typescript(folder);
  near(ours.vectors, theirs.vectors.flat(), 1e-5);
  near(ours.products, theirs.products.flat(), 1e-5);
  near([ours.ndcg, ours.spearman], [theirs.ndcg, theirs.spearman], 1e-6);
  near(ours.scores, theirs.scores, 1e-5);
  assert.deepEqual(ours.ranked, theirs.ranked);
  assert.ok(existsSync(join(folder, 'runs', 'node', 'model', 'modules.json')));

  const [training, mining, measuring] = commands;
  const trained = await gradcache(
    training!.map((word) => word.replace('runs/node', 'runs/again')),
    { cwd: folder },
  );
  assert.equal(trained.code, 0, trained.stderr);
  assert.ok(existsSync(join(folder, 'runs', 'again', 'model', 'modules.json')));
  const mined = await gradcache(mining!, { cwd: folder });
  assert.equal(mined.code, 0, mined.stderr);
  const rows = (await readFile(join(folder, 'mined.jsonl'), 'utf8')).trim().split('\n');
  assert.deepEqual(
    rows.map((row) => JSON.parse(row) as unknown),
    theirs.mined,
  );

  await writeRows(join(folder, 'held-out.jsonl'), pairs(12));
  const scored = pairs(12).map(({ anchor, positive }, place) => `${anchor},${positive},${place % 5}\n`);
  await writeFile(join(folder, 'sts.csv'), `sentence1,sentence2,score\n${scored.join('')}`);
  const measured = await gradcache(measuring!, { cwd: folder });
  assert.equal(measured.code, 0, measured.stderr);
  assert.match(measured.stderr, /^step 2: search\.recall@1 .*\n.*step 2: sts\.spearman /m);
});
