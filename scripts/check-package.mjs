// `npm run check:package`: checks what npm would publish with publint and arethetypeswrong, its size, and what must and must
// not be in it. The addon for this machine's libtorch is enough. With --publish, which npm passes before it publishes,
// everything prebuilt must be there and made from these sources; `npm run prebuild` makes it.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { prepare } from './prepare.mjs';
import { prebuild } from './prebuild.mjs';
import { prebuildProblems } from './prebuild-check.mjs';
import { Failure, main, root, runBin, say, timed } from './tools.mjs';

const NEEDED = [
  /^package\.json$/,
  /^README\.md$/,
  /^LICENSE$/,
  /^CHANGELOG\.md$/,
  /^dist\/lib\/index\.(js|d\.ts)$/,
  /^dist\/lib\/cli\/main\.js$/,
  /^dist\/lib\/report\/browser\/page\.js$/,
  /^dist\/lib\/training\/train\.schema\.json$/,
  /^prebuilds\/torch-2\.\d+\/prebuilds\/linux-x64\/gradcache\.glibc\.node$/,
  /^prebuilds\/boot\/prebuilds\/linux-x64\/boot\.glibc\.node$/,
];
const ALLOWED =
  /^(package\.json|README\.md|LICENSE|CHANGELOG\.md|dist\/lib\/.+\.(js|d\.ts|schema\.json)|prebuilds\/.+)$/;

/** The most bytes that a download of the package may take. */
const LARGEST = 40e6;

/** Throws when the package is not fit to use or, with `publish`, not fit to publish. */
export async function checkPackage({ publish = false } = {}) {
  if (publish) await timed('prebuilt binaries', checkPrebuilds);
  await timed('publint', () => runBin('publint', ['--strict'], { quiet: true }));
  // There is no CommonJS build on purpose: every Node.js that the package supports can require() an ES module.
  const options = ['--pack', '.', '--ignore-rules', 'cjs-resolves-to-esm', '--no-emoji', '--no-color'];
  await timed('arethetypeswrong', () => runBin('attw', options, { quiet: true }));
  const packed = spawnSync('npm', ['pack', '--dry-run', '--json'], { cwd: root, encoding: 'utf8' });
  if (packed.status !== 0) throw new Failure(`npm pack failed:\n${packed.stderr}`);
  const [{ files: entries, size }] = JSON.parse(packed.stdout);
  const files = entries.map((file) => file.path);
  const missing = NEEDED.filter((pattern) => !files.some((file) => pattern.test(file)));
  const unwanted = files.filter((file) => !ALLOWED.test(file));
  if (missing.length > 0) throw new Failure(`The package lacks files like ${missing.join(', ')}`);
  if (unwanted.length > 0)
    throw new Failure(`The package holds files that do not belong in it: ${unwanted.join(', ')}`);
  const megabytes = (size / 1e6).toFixed(1);
  if (size > LARGEST) throw new Failure(`The package is ${megabytes} MB, more than ${LARGEST / 1e6} MB`);
  say(`the package is ${megabytes} MB, ${files.length} files`);
}

async function checkPrebuilds() {
  const { SUPPORTED_MINORS } = await import('../dist/lib/addon/runtime/paths.js');
  const problems = prebuildProblems(SUPPORTED_MINORS);
  if (problems.length === 0) return;
  throw new Failure(
    `Not fit to publish:\n  ${problems.join('\n  ')}\nTo make what is missing: npm run prebuild`,
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(async () => {
    const { publish } = parseArgs({ options: { publish: { type: 'boolean' } } }).values;
    // Nothing is compiled while publishing: what is published was made and tested before.
    if (publish) await prepare('typescript');
    else await prebuild(await prepare());
    await checkPackage({ publish });
  });
}
