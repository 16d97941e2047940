import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { DoctorReport } from '../../lib/addon/runtime/doctor.js';
import { locateLibtorch } from '../../lib/addon/runtime/libtorch.js';
import { packageRoot } from '../../lib/addon/runtime/paths.js';

// The package as a stranger gets it: packed, installed with scripts off into an empty folder, used from there.
const root = packageRoot();
const folder = mkdtempSync(join(tmpdir(), 'gradcache-package-'));
const consumer = join(folder, 'consumer');
const installed = join(consumer, 'node_modules', 'gradcache');
const libtorch = locateLibtorch().folder;

function run(command: string, args: string[], cwd = consumer): string {
  const environment = { ...process.env, GRADCACHE_LIBTORCH: libtorch, npm_config_update_notifier: 'false' };
  const result = spawnSync(command, args, { cwd, encoding: 'utf8', env: environment });
  assert.equal(result.status, 0, `${command} ${args.join(' ')}\n${result.stdout}\n${result.stderr}`);
  return result.stdout;
}

function write(name: string, content: string): void {
  writeFileSync(join(consumer, name), content);
}

before(() => {
  run('npm', ['pack', '--ignore-scripts', '--pack-destination', folder], root);
  const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz'));
  assert.ok(tarball !== undefined);
  mkdirSync(consumer);
  write('package.json', '{"name":"consumer","private":true}');
  run('npm', [
    'install',
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    '--prefer-offline',
    join(folder, tarball),
  ]);
});

after(() => rmSync(folder, { recursive: true, force: true }));

test('it installs with what it needs and nothing else: no sources, nothing to compile', () => {
  assert.deepEqual(readdirSync(installed).sort(), [
    'CHANGELOG.md',
    'LICENSE',
    'README.md',
    'dist',
    'package.json',
    'prebuilds',
  ]);
  assert.deepEqual(readdirSync(join(installed, 'dist')), ['lib']);
  assert.equal(existsSync(join(installed, 'build')), false);
});

/** A small text encoder from scratch, two steps with more pairs than a chunk holds; prints what came out. */
const TRAINING = `
async function train({ TextEncoder, Tokenizer, GradCache, AdamW, infoNCE }) {
  const tokenizer = await Tokenizer.fromFile(process.argv[2]);
  const config = {
    model_type: 'bert', vocab_size: tokenizer.vocabularySize, hidden_size: 32, num_hidden_layers: 2,
    num_attention_heads: 2, intermediate_size: 64, max_position_embeddings: 64, type_vocab_size: 2,
    hidden_act: 'gelu', layer_norm_eps: 1e-12, hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0.1,
  };
  const model = TextEncoder.create(config, tokenizer, { maxLength: 32, seed: 1 });
  const optimizer = new AdamW(model.parameters(), { lr: 1e-2 });
  const gradcache = new GradCache({ encoders: [model, model], loss: infoNCE(), chunk: { sequences: 3 } });
  const words = ['sea', 'tree', 'stone', 'bread', 'house', 'river', 'music', 'winter'];
  const losses = [];
  for (let step = 0; step < 2; step += 1) {
    const towers = [words, words.map((word) => 'a kind of ' + word)].map((texts) => model.tokenize(texts));
    losses.push((await gradcache.step(towers)).loss);
    await optimizer.step();
  }
  console.log(JSON.stringify(losses));
}`;

function checkTraining(output: string): void {
  const losses = JSON.parse(output) as number[];
  assert.equal(losses.length, 2);
  assert.ok((losses[1] ?? NaN) < (losses[0] ?? NaN), `the loss did not fall: ${losses.join(', ')}`);
}

const tokenizer = join(root, 'examples', 'quickstart', 'tokenizer.json');

test('imported from an ES module, it trains two steps', () => {
  write('train.mjs', `import * as gradcache from 'gradcache';\n${TRAINING}\nawait train(gradcache);`);
  checkTraining(run(process.execPath, ['--disable-warning=ExperimentalWarning', 'train.mjs', tokenizer]));
});

test('required from CommonJS, it trains two steps', () => {
  write('train.cjs', `${TRAINING}\nvoid train(require('gradcache'));`);
  checkTraining(run(process.execPath, ['--disable-warning=ExperimentalWarning', 'train.cjs', tokenizer]));
});

test('its types resolve for both kinds of module, checked without skipLibCheck', () => {
  const use = `
    const encoders: [] = [];
    const options: GradCacheOptions = { encoders, loss: infoNCE({ temperature: 0.05 }), chunk: { tokens: 1024 } };
    export const step = (inputs: [Promise<TokenBatch>]): Promise<StepResult> => new GradCache(options).step(inputs);
    // @ts-expect-error: a chunk has no such unit
    export const wrong: GradCacheOptions = { ...options, chunk: { rows: 3 } };
    export const code: ErrorCode = new GradCacheError('SHAPE', '').code;`;
  const names = 'GradCache, GradCacheError, infoNCE';
  const types = 'ErrorCode, GradCacheOptions, StepResult, TokenBatch';
  write(
    'use.mts',
    `import { ${names} } from 'gradcache';\nimport type { ${types} } from 'gradcache';\n${use}`,
  );
  write(
    'use.cts',
    `import { ${names} } from 'gradcache';\nimport type { ${types} } from 'gradcache';\n${use}`,
  );
  const options = {
    module: 'nodenext',
    target: 'es2022',
    strict: true,
    noEmit: true,
    // TypeScript 7 takes no types by itself, and no library but the target's: the declarations ask for what they need.
    types: [],
    lib: ['es2022'],
    typeRoots: [join(root, 'node_modules', '@types')],
  };
  write('tsconfig.json', JSON.stringify({ compilerOptions: options, files: ['use.mts', 'use.cts'] }));
  run(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', '.']);
});

test('its program runs, and its doctor finds all well with the prebuilt addon that came with it', () => {
  const report = JSON.parse(
    run(join(consumer, 'node_modules', '.bin', 'gradcache'), ['doctor', '--json']),
  ) as DoctorReport;
  assert.equal(report.ok, true);
  assert.equal(report.gradcache.folder, realpathSync(installed));
  assert.ok(report.load?.ok);
  assert.ok(report.load.addon.startsWith(join(realpathSync(installed), 'prebuilds')));
});

test('installed again from the lockfile, still nothing is compiled', () => {
  run('npm', ['ci', '--no-audit', '--no-fund', '--prefer-offline']);
  assert.equal(existsSync(join(installed, 'build')), false);
});
