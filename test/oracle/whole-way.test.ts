/**
 * From a model's name to a served model, offline: all-MiniLM-L6-v2 and definitions of WordNet on a hub on loopback, every step
 * by the command line, each with what the one before it left. At the end the same vectors come from `embed`, transformers.js,
 * `serve` and Python.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { readWordNet, split } from '../../examples/quickstart/wordnet.js';
import { gradcache, type Ended } from '../cli/program.js';
import { figure } from '../../lib/report/format.js';
import { filesOf, HubServer } from '../hub/hub-server.js';
import { temporaryFolder } from '../training/support.js';
import { largestDifference } from './compare.js';
import { askPython } from './hub-python.js';
import { miniLM, projectRoot } from './python.js';

/** Whoever asks for anything that is not on loopback is refused at once. */
const OFFLINE = {
  HTTPS_PROXY: 'http://127.0.0.1:9',
  HTTP_PROXY: 'http://127.0.0.1:9',
  NO_PROXY: '127.0.0.1',
};
const MODEL = 'sentence-transformers/all-MiniLM-L6-v2';
const TEXTS = ['a small dog', 'the river, the stone and the house', 'who sells fresh vegetables'];
const STEPS = 8;

const lines = (rows: readonly object[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join('');

/** The JSON lines of a text. */
const objects = <T>(text: string): T[] =>
  text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as T);

interface Step {
  readonly type: string;
  readonly step: number;
  readonly scores: Record<string, number>;
}

test('from the name of a model to a served model, killed once on the way', async (t) => {
  const hub = await HubServer.start(t);
  const folder = await temporaryFolder(t);
  const at = (...names: string[]) => join(folder, ...names);
  const environment = { ...OFFLINE, ...hub.environment(at('home')), HF_TOKEN: 'hf_writer' };
  const start = (args: readonly string[], onOutput?: Parameters<typeof gradcache>[1]) =>
    gradcache(args, { cwd: folder, env: environment, ...onOutput });
  const run = async (...args: readonly string[]): Promise<Ended> => {
    const ended = await start(args);
    assert.equal(ended.code, 0, `gradcache ${args.join(' ')}\n${ended.stderr}`);
    return ended;
  };

  hub.commit(`models/${MODEL}`, await filesOf(miniLM));
  const { train, heldOut } = split((await readWordNet()).slice(0, 4000), 60);
  const row = ({ gloss, term }: (typeof train)[number]) => ({ anchor: gloss, positive: term });
  hub.commit('datasets/org/definitions', {
    'train.jsonl': lines(train.slice(0, 128).map(row)),
    'test.jsonl': lines(heldOut.map(row)),
  });

  const [pulled] = objects<{ folder: string }>((await run('pull', MODEL, '--json')).stdout);
  const weights = await readFile(join(pulled!.folder, 'model.safetensors'));
  assert.ok(weights.equals(await readFile(join(miniLM, 'model.safetensors'))));
  await run('pull', 'org/definitions', '--data');

  await run(
    ...['mine', '--model', MODEL, '--data', 'hf:org/definitions:train', '--output', 'triplets.jsonl'],
    ...['--negatives', '1', '--relative-margin', '0.05', '--device', 'cpu'],
  );
  const triplets = objects<Record<string, string>>(await readFile(at('triplets.jsonl'), 'utf8'));
  assert.ok(triplets.length > 64, `${triplets.length} triplets`);
  const terms = new Map(train.map(({ gloss, term }) => [gloss, term]));
  for (const { anchor, positive, negative } of triplets) {
    assert.equal(positive, terms.get(anchor!));
    assert.notEqual(negative, positive);
  }

  const training = [
    ...['train', '--model', MODEL, '--data', 'triplets.jsonl', '--columns', 'anchor,positive,negative'],
    ...['--output', 'run', '--batch', '16', '--steps', String(STEPS), '--lr', '1e-4', '--device', 'cpu'],
    ...['--eval-data', 'hf:org/definitions:test', '--eval-before', '--eval-every', '4', '--best', 'mrr@10'],
    ...['--checkpoint-every', '3', '--json'],
  ];
  const killed = await start(training, {
    onOutput: (child, written) => written.includes(`"type":"saved","step":3`) && child.kill('SIGKILL'),
  });
  assert.equal(killed.signal, 'SIGKILL', killed.stderr);
  assert.ok(!(await readdir(at('run'))).includes('model'));
  await run('train', '--resume', 'run', '--json');
  const events = objects<Step>(await readFile(at('run', 'metrics.jsonl'), 'utf8'));
  const steps = events.filter(({ type }) => type === 'step').map(({ step }) => step);
  assert.deepEqual(
    steps,
    Array.from({ length: STEPS }, (_, step) => step + 1),
  );
  const measured = events.filter(({ type }) => type === 'evaluation');
  assert.deepEqual(
    measured.map(({ step }) => step),
    [0, 4, 8],
  );
  const scores = measured.map(({ scores }) => scores['mrr@10']!);
  const best = Math.max(...scores);
  assert.ok(best > scores[0]!, scores.join(', '));

  const [score] = objects<Record<string, number>>(
    (await run('evaluate', '--model', 'run/model', '--data', 'hf:org/definitions:test', '--json')).stdout,
  );
  assert.equal(score!['mrr@10'], best);

  await run('report', 'run', '--output', 'run.html');
  const page = await readFile(at('run.html'), 'utf8');
  const { hardest } = JSON.parse(await readFile(at('run', 'hardest.json'), 'utf8')) as {
    hardest: { query: string }[];
  };
  for (const { query } of hardest.filter(({ query }) => /^[\w ,;]+$/.test(query)))
    assert.ok(page.includes(query), query);
  assert.ok(page.includes(figure(scores[0]!)));

  await writeFile(at('texts.txt'), TEXTS.map((text) => `${text}\n`).join(''));
  await run('embed', '--model', 'run/model', '--input', 'texts.txt', '--output', 'vectors.jsonl');
  const vectors = objects<{ vector: number[] }>(await readFile(at('vectors.jsonl'), 'utf8')).flatMap(
    ({ vector }) => vector,
  );
  const assertSame = (found: readonly number[], by: string): void => {
    const difference = largestDifference(found, vectors);
    assert.ok(difference < 1e-5, `${by}: a difference of ${difference}`);
  };

  await run('export', '--onnx', 'run/model', 'served');
  assertSame(transformersJs(at('served')), 'transformers.js');

  await run('push', 'run/model', 'me/definitions');
  const card = hub.repositories.get('models/me/definitions')!;
  const readme = card.commits.get(card.refs.get('main')!)!.get('README.md')!.toString();
  assert.match(readme, new RegExp(`base_model: ${MODEL}\n`));
  assert.match(readme, new RegExp(`\\| mrr@10 \\| ${scores[0]!.toFixed(4)} \\| `));

  const other = { ...environment, HF_HOME: at('other') };
  const python = (await askPython(other, 'embed', 'me/definitions', ...TEXTS)) as { vectors: number[][] };
  assertSame(python.vectors.flat(), 'sentence-transformers');

  assertSame(await served(start), 'serve');
});

/** What transformers.js gives for the texts, with the graph of a folder. */
function transformersJs(folder: string): number[] {
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    [join(projectRoot, 'test', 'oracle', 'transformers-js', 'embed.cjs')],
    {
      input: JSON.stringify({
        packages: join(projectRoot, '.cache', 'transformers-js'),
        folders: [{ folder, dtype: 'fp32' }],
        texts: TEXTS,
      }),
      encoding: 'utf8',
    },
  );
  assert.equal(status, 0, stderr);
  const [answer] = JSON.parse(stdout) as [{ embeddings: number[] }];
  return answer.embeddings;
}

/** What a server gives that takes the model from the hub. */
async function served(
  start: (args: readonly string[], options: Parameters<typeof gradcache>[1]) => Promise<Ended>,
): Promise<number[]> {
  let answer: Promise<{ data: { embedding: number[] }[] }> | undefined;
  const ended = await start(
    ['serve', '--model', 'me/definitions', '--device', 'cpu', '--port', '0', '--json'],
    {
      onOutput(child, written) {
        const [, url] = /"url":"(.+?)"/.exec(written) ?? [];
        if (url === undefined || answer !== undefined) return;
        answer = fetch(`${url}/v1/embeddings`, {
          method: 'POST',
          headers: { 'Content-Type': 'application/json' },
          body: JSON.stringify({ model: 'me/definitions', input: TEXTS }),
        }).then((reply) => reply.json() as never);
        answer.finally(() => child.kill('SIGTERM')).catch(() => undefined);
      },
    },
  );
  assert.equal(ended.code, 0, ended.stderr);
  return (await answer!).data.flatMap(({ embedding }) => embedding);
}
