// Compiles the addons with cmake-js for one libtorch. Run as a program (from binding.gyp) or called by prepare.mjs.
//   node scripts/build-addon.mjs [--libtorch FOLDER] [--out build] [--library FOLDER]
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import {
  filesUnder,
  fingerprint,
  jobs,
  main,
  readStamp,
  requireTools,
  root,
  runBin,
  say,
  timed,
  writeStamp,
} from './tools.mjs';

/** The tools that compiling needs. */
export const COMPILING = ['C++ compiler', 'cmake', 'make or ninja'];

/** Digest of everything the addons are compiled from. */
export function addonSources() {
  const places = ['native', 'lib/addon/interface.ts', 'CMakeLists.txt', 'package.json'];
  return fingerprint(filesUnder(places, /\.(cc|h|cmake)$/));
}

/**
 * Compiles into `out`/Release unless what lies there was compiled from these sources against this libtorch. CMake
 * decides which files are compiled anew.
 */
export async function buildAddon(libtorch, { out = 'build', library } = {}) {
  const stamp = join(library ?? join(root, out, 'Release'), 'stamp');
  const wanted = `${addonSources()} ${libtorch.version} ${libtorch.folder}`;
  if (readStamp(stamp) === wanted) return;
  requireTools('to compile the addon', COMPILING);
  rmSync(stamp, { force: true });
  say('the addon is compiled once: about seven minutes on two cores');
  await timed(`addon for libtorch ${libtorch.version}`, () => {
    const options = ['-O', join(root, out), `--CDTORCH_DIR=${libtorch.folder}`];
    if (library) options.push(`--CDCMAKE_LIBRARY_OUTPUT_DIRECTORY=${library}`);
    // `build`, not `compile`: the latter answers a compiler's error with a whole second build.
    runBin('cmake-js', ['configure', ...options], { quiet: true });
    runBin('cmake-js', ['build', ...options, '-p', String(jobs())]);
  });
  writeStamp(stamp, wanted);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(async () => {
    const { values } = parseArgs({
      options: { libtorch: { type: 'string' }, out: { type: 'string' }, library: { type: 'string' } },
    });
    const { locateLibtorch } = await import('../dist/lib/addon/runtime/libtorch.js');
    const libtorch = locateLibtorch({ libtorch: values.libtorch });
    await buildAddon(libtorch, values);
    say(`compiled against ${libtorch.folder}`);
  });
}
