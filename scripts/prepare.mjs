// Sets up what is missing, and nothing twice: the packages, the TypeScript, a libtorch, the addon.
//   node scripts/prepare.mjs [--only packages|typescript|libtorch]     (also `npm run compile`)
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { addonSources, buildAddon, COMPILING } from './build-addon.mjs';
import {
  Failure,
  filesUnder,
  fingerprint,
  main,
  readStamp,
  requireTools,
  root,
  run,
  runBin,
  say,
  timed,
  writeStamp,
} from './tools.mjs';

const LEAST_NODE = [20, 19];

/** Makes everything ready and returns the libtorch in use. `until` names the last step to take. */
export async function prepare(until = 'addon') {
  checkNode();
  await packages();
  if (until === 'packages') return null;
  await typescript();
  if (until === 'typescript') return null;
  const libtorch = await findOrInstallLibtorch();
  if (until === 'addon') await addon(libtorch);
  return libtorch;
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > LEAST_NODE[0] || (major === LEAST_NODE[0] && minor >= LEAST_NODE[1])) return;
  throw new Failure(
    `Node.js ${process.versions.node} is too old: ${LEAST_NODE.join('.')} or later is needed.`,
  );
}

/** Runs npm ci, unless every package of the lockfile is there in its version. */
async function packages() {
  if (installedPackagesMatch()) return;
  await timed('packages (npm ci)', () =>
    run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']),
  );
}

function installedPackagesMatch() {
  const versions = (path) => {
    const { packages } = JSON.parse(readFileSync(join(root, path), 'utf8'));
    return Object.entries(packages).filter(([name, entry]) => name !== '' && !entry.optional && !entry.peer);
  };
  if (!existsSync(join(root, 'node_modules', '.package-lock.json'))) return false;
  const installed = new Map(versions('node_modules/.package-lock.json'));
  return versions('package-lock.json').every(
    ([name, entry]) => installed.get(name)?.version === entry.version && existsSync(join(root, name)),
  );
}

/** Runs tsc, unless dist was made from these sources. Outputs without a source are removed, so that their tests do not run. */
async function typescript() {
  const stamp = join(root, 'dist', 'stamp');
  const sources = filesUnder(['lib', 'test', 'bench', 'examples'], /\.(ts|js|schema\.json)$/);
  const wanted = fingerprint([...sources, 'tsconfig.json', 'package-lock.json']);
  if (readStamp(stamp) === wanted) return;
  rmSync(stamp, { force: true });
  await timed('TypeScript', () => runBin('tsc', ['-p', 'tsconfig.json'], {}));
  for (const output of filesUnder(['dist'], /\.(js|d\.ts)$/)) {
    const source = output.replace(/^dist\//, '').replace(/\.(js|d\.ts)$/, '');
    if (!['.ts', '.js'].some((kind) => existsSync(join(root, source + kind)))) rmSync(join(root, output));
  }
  writeStamp(stamp, wanted);
}

async function findOrInstallLibtorch() {
  const { locateLibtorch, searchLibtorch } = await import('../dist/lib/addon/runtime/libtorch.js');
  const { libtorch, places } = searchLibtorch();
  if (libtorch !== null) return libtorch;
  // A setting that names a wrong folder is refused. Only where there is no libtorch at all is one installed.
  if (places.some((place) => place.source === 'GRADCACHE_LIBTORCH' && place.path !== null))
    return locateLibtorch();
  // On a machine with nothing yet, everything that is missing is named at once.
  const { findBuilds } = await import('../dist/lib/addon/runtime/builds.js');
  if (findBuilds().length > 0) requireTools('to install libtorch', ['python3', 'pip']);
  else requireTools('to install libtorch and compile the addon', ['python3', 'pip', ...COMPILING]);
  const { setup } = await import('../dist/lib/addon/runtime/setup.js');
  await timed('libtorch (gradcache setup)', () =>
    setup({ onLine: (line) => process.stderr.write(`${line}\n`) }),
  );
  return locateLibtorch();
}

/** Compiles the addon, unless one made from these sources fits the libtorch. */
async function addon(libtorch) {
  const { findBuilds } = await import('../dist/lib/addon/runtime/builds.js');
  const chosen = findBuilds().find((build) => build.minor === libtorch.minor);
  const sources = readStamp(join(root, 'prebuilds', `torch-${libtorch.minor}`, 'sources'));
  if (chosen?.kind === 'prebuilt' && sources === addonSources()) return;
  await buildAddon(libtorch);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(async () => {
    const { values } = parseArgs({ options: { only: { type: 'string' } } });
    const libtorch = await prepare(values.only);
    say(libtorch === null ? 'ready' : `ready, with libtorch ${libtorch.version} in ${libtorch.folder}`);
  });
}
