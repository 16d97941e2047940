// `npm test [-- WORD …]`: sets up what is missing, checks everything, runs every test. With words, it sets up and runs only
// the test files whose path holds one of them.
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { checkPackage } from './check-package.mjs';
import { lint } from './lint.mjs';
import { installOracle, startOracle } from './oracle.mjs';
import { prebuild } from './prebuild.mjs';
import { prepare } from './prepare.mjs';
import { installTransformersJs } from './transformers-js.mjs';
import { Failure, filesUnder, main, root, say } from './tools.mjs';

/** One file may take this long before it is taken to hang. */
const TIMEOUT_MINUTES = 15;

await main(async () => {
  const words = process.argv.slice(2);
  const libtorch = await prepare();
  const failures = [];
  const check = async (body) => {
    try {
      await body();
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      failures.push(error.message);
    }
  };
  if (words.length === 0) await check(lint);
  await prebuild(libtorch);
  if (words.length === 0) await check(checkPackage);
  await installOracle();
  await installTransformersJs();

  // Those of test/gpu need a GPU: `npm run test:gpu`.
  const files = filesUnder(['dist/test'], /\.test\.js$/).filter(
    (file) =>
      !file.startsWith('dist/test/gpu/') && (words.length === 0 || words.some((word) => file.includes(word))),
  );
  if (files.length === 0) throw new Failure(`No test file has ${words.join(' or ')} in its path.`);
  for (const failure of failures) say(`FAILED: ${failure}`);
  const oracle = files.some((file) => file.startsWith('dist/test/oracle/')) ? await startOracle() : undefined;
  const status = runTests(files, oracle?.socket);
  oracle?.end();
  // Nothing is printed after what failed; what failed before the tests shows in the exit code.
  process.exitCode = status !== 0 ? status : failures.length > 0 ? 1 : 0;
});

function runTests(files, oracle) {
  const options = [
    '--test',
    `--test-concurrency=${availableParallelism()}`,
    `--test-timeout=${TIMEOUT_MINUTES * 60_000}`,
    `--test-reporter=${process.stdout.isTTY ? 'spec' : 'tap'}`,
    '--test-reporter-destination=stdout',
    '--test-reporter=./scripts/failures-reporter.mjs',
    '--test-reporter-destination=stdout',
  ];
  const { status } = spawnSync(process.execPath, [...options, ...files], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    // Several test processes share the processors: a thread that waits must give its one up.
    env: { ...process.env, OMP_WAIT_POLICY: 'passive', ...(oracle && { GRADCACHE_ORACLE: oracle }) },
  });
  return status ?? 1;
}
