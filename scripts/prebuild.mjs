// `npm run prebuildify [-- --libtorch FOLDER …]`: the addons for publishing, one folder for each libtorch minor (the script
// is not called prebuild because npm would run it before each `npm run build`):
//   prebuilds/torch-2.13/prebuilds/linux-x64/gradcache.glibc.node    the main addon
//   prebuilds/boot/prebuilds/linux-x64/boot.glibc.node               the boot addon, which is the same for all
// prebuildify writes and node-gyp-build reads that layout in each of the folders: it knows no tag for libtorch, so the minor
// is the folder's name. CMake does the compiling; prebuildify gets a stand-in for node-gyp that hands it the result.
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { addonSources, buildAddon } from './build-addon.mjs';
import { prepare } from './prepare.mjs';
import { main, readStamp, root, runBin, say, timed, writeStamp } from './tools.mjs';

/** Makes the prebuilt addons for one libtorch from those compiled in `out`, unless they are made from the same sources. */
export async function prebuild(libtorch, out = 'build') {
  const folder = join('prebuilds', `torch-${libtorch.minor}`);
  const stamp = join(root, folder, 'sources');
  const wanted = addonSources();
  if (readStamp(stamp) === wanted) return;
  await buildAddon(libtorch, { out });
  await timed(`prebuilt addon for libtorch ${libtorch.minor}`, () => {
    rmSync(join(root, folder), { recursive: true, force: true });
    pack(join(root, out, 'Release', 'gradcache.node'), join(root, folder), 'gradcache');
    pack(join(root, out, 'Release', 'boot', 'boot.node'), join(root, 'prebuilds', 'boot'), 'boot');
  });
  writeStamp(stamp, wanted);
}

/** prebuildify takes, strips and moves what its node-gyp left in build/Release: in a folder of its own, not in ours. */
function pack(addon, out, name) {
  const stage = join(root, 'build', `prebuild-${name}`);
  rmSync(stage, { recursive: true, force: true });
  mkdirSync(stage, { recursive: true });
  cpSync(join(root, 'package.json'), join(stage, 'package.json'));
  const nodeGyp = join(root, 'scripts', 'prebuild-node-gyp.mjs');
  const options = [
    '--napi',
    '--strip',
    '--tag-libc',
    '--quiet',
    '--cwd',
    stage,
    '--out',
    out,
    '--name',
    name,
  ];
  runBin('prebuildify', options, { env: { PREBUILD_NODE_GYP: nodeGyp, GRADCACHE_PREBUILD_ADDON: addon } });
  rmSync(stage, { recursive: true, force: true });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(async () => {
    const { values } = parseArgs({ options: { libtorch: { type: 'string', multiple: true } } });
    if (values.libtorch === undefined) return prebuild(await prepare('libtorch'));
    await prepare('typescript');
    const { locateLibtorch } = await import('../dist/lib/runtime/libtorch.js');
    for (const folder of values.libtorch) {
      const libtorch = locateLibtorch({ libtorch: folder });
      await prebuild(libtorch, `build-torch-${libtorch.minor}`);
      say(`prebuilds/torch-${libtorch.minor} is ready`);
    }
  });
}
