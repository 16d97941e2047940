// `npm run test:gpu [-- WORD …]`: runs the tests that compute on a GPU. Those of test/exactness, test/oracle and test/kernels
// run in `npm test` too, on the CPU; those of test/gpu run here alone. Nothing is set up: it takes dist/, the addon and the
// kernels as they are, also on a machine without npm (`node scripts/test-gpu.mjs`). With words, it runs only the files whose
// path holds one of them. GRADCACHE_TEST_DEVICE names another device than `cuda`.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Failure, filesUnder, main, root, say } from './tools.mjs';

/** One file may take this long before it is taken to hang. */
const TIMEOUT_MINUTES = 4;

/** Tests that compute nothing on the device: what they measure or compare is the CPU's. */
const OF_THE_CPU = [
  'exactness/memory',
  'oracle/onnx',
  'oracle/serve',
  'oracle/tensorboard',
  'oracle/trainer-table',
  'oracle/whole-way',
].map((name) => `dist/test/${name}.test.js`);

/** Tests that need the weights of all-MiniLM-L6-v2 as a whole. */
const OF_MINI_LM = ['oracle/evaluators', 'oracle/hard-negatives'].map((name) => `dist/test/${name}.test.js`);

await main(async () => {
  const words = process.argv.slice(2);
  const { foundVersions, miniLM, pinnedVersions } = await import('../dist/test/oracle/python.js');
  const leftOut = existsSync(miniLM) ? OF_THE_CPU : [...OF_THE_CPU, ...OF_MINI_LM];
  const device = process.env.GRADCACHE_TEST_DEVICE || 'cuda';
  if (!existsSync(join(root, 'dist', 'test')))
    throw new Failure('dist/ is not there: run `npm run compile` where npm is');
  const chosen = (folder) =>
    filesUnder([`dist/test/${folder}`], /\.test\.js$/).filter(
      (file) => !leftOut.includes(file) && (words.length === 0 || words.some((word) => file.includes(word))),
    );
  const shared = [...chosen('exactness'), ...chosen('oracle'), ...chosen('kernels')];
  const needsGpu = /out-of-memory|automatic-chunk/;
  const alone = chosen('gpu').filter((file) => device !== 'cpu' || !needsGpu.test(file));
  if (shared.length + alone.length === 0)
    throw new Failure(`No test file has ${words.join(' or ')} in its path.`);

  const options = [];
  if (!existsSync(miniLM)) {
    say(
      `left out: the tests of the real all-MiniLM-L6-v2, whose weights are not in ${miniLM} (GRADCACHE_MINILM names a folder)`,
    );
    // Some versions of Node match a file's own root as well, and then run all that is below it.
    options.push('--test-name-pattern=/^(?!<root>)(?!.*all-MiniLM-L6-v2)/');
  }
  say(`left out: ${leftOut.join(', ')} (they compute nothing on the device, or need those weights)`);
  say(`device: ${device}`);
  const found = foundVersions();
  for (const [name, pinned] of Object.entries(pinnedVersions())) {
    if (found[name] !== pinned)
      say(`compared with ${name} ${found[name] ?? '(missing)'}; the tests are written for ${pinned}`);
  }
  // Tests that fill the card or time the event loop run one after the other.
  const codes = [runTests(shared, 4, device, options), runTests(alone, 1, device, [])];
  process.exitCode = codes.find((code) => code !== 0) ?? 0;
});

function runTests(files, concurrency, device, options) {
  if (files.length === 0) return 0;
  const settings = [
    '--test',
    `--test-concurrency=${concurrency}`,
    `--test-timeout=${TIMEOUT_MINUTES * 60_000}`,
    `--test-reporter=${process.env.GRADCACHE_TEST_REPORTER || 'spec'}`,
    '--test-reporter-destination=stdout',
    ...options,
  ];
  const { status } = spawnSync(process.execPath, [...settings, ...files], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, GRADCACHE_TEST_DEVICE: device, OMP_WAIT_POLICY: 'passive' },
  });
  return status ?? 1;
}
