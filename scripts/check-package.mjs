// `npm run check:package`: what npm would publish, looked at by publint and arethetypeswrong, and by what must and must not
// be in it.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { prepare } from './prepare.mjs';
import { prebuild } from './prebuild.mjs';
import { Failure, main, root, runBin, timed } from './tools.mjs';

const NEEDED = [
  /^package\.json$/,
  /^README\.md$/,
  /^LICENSE$/,
  /^CHANGELOG\.md$/,
  /^dist\/lib\/index\.(js|d\.ts)$/,
  /^dist\/lib\/cli\/main\.js$/,
  /^prebuilds\/torch-2\.\d+\/prebuilds\/linux-x64\/gradcache\.glibc\.node$/,
  /^prebuilds\/boot\/prebuilds\/linux-x64\/boot\.glibc\.node$/,
];
const ALLOWED = /^(package\.json|README\.md|LICENSE|CHANGELOG\.md|dist\/lib\/.+\.(js|d\.ts)|prebuilds\/.+)$/;

/** Throws when the package is not fit to publish. */
export async function checkPackage() {
  await timed('publint', () => runBin('publint', ['--strict'], { quiet: true }));
  // There is no CommonJS build on purpose: every Node.js that the package supports can require() an ES module.
  const options = ['--pack', '.', '--ignore-rules', 'cjs-resolves-to-esm', '--no-emoji', '--no-color'];
  await timed('arethetypeswrong', () => runBin('attw', options, { quiet: true }));
  const packed = spawnSync('npm', ['pack', '--dry-run', '--json'], { cwd: root, encoding: 'utf8' });
  if (packed.status !== 0) throw new Failure(`npm pack failed:\n${packed.stderr}`);
  const files = JSON.parse(packed.stdout)[0].files.map((file) => file.path);
  const missing = NEEDED.filter((pattern) => !files.some((file) => pattern.test(file)));
  const unwanted = files.filter((file) => !ALLOWED.test(file));
  if (missing.length > 0) throw new Failure(`The package lacks files like ${missing.join(', ')}`);
  if (unwanted.length > 0)
    throw new Failure(`The package holds files that do not belong in it: ${unwanted.join(', ')}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(async () => {
    await prebuild(await prepare());
    await checkPackage();
  });
}
