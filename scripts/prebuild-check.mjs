// Checks that everything prebuilt in the published package is there, is made from the present sources, and opens on old
// systems.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { addonSources } from './build-addon.mjs';
import { bootSources } from './prebuild.mjs';
import { binaryProblems } from './prebuild-binary.mjs';
import { CUDA_LIBRARY, cudaSources } from './prebuild-cuda.mjs';
import { readStamp, root } from './tools.mjs';

/** A line for each thing that is missing, stale or unfit. Without any, the package may be published. */
export function prebuildProblems(minors, folder = join(root, 'prebuilds')) {
  const parts = [
    ...minors.map((minor) => ({
      name: `the addon for libtorch ${minor}`,
      binary: join(`torch-${minor}`, 'prebuilds', 'linux-x64', 'gradcache.glibc.node'),
      stamp: join(`torch-${minor}`, 'sources'),
      sources: addonSources(),
    })),
    {
      name: 'the boot addon',
      binary: join('boot', 'prebuilds', 'linux-x64', 'boot.glibc.node'),
      stamp: join('boot', 'sources'),
      sources: bootSources(),
    },
    {
      name: 'the library of CUDA kernels',
      binary: CUDA_LIBRARY,
      stamp: join('cuda', 'sources'),
      sources: cudaSources(),
    },
  ];
  return parts.flatMap(({ name, binary, stamp, sources }) => {
    if (!existsSync(join(folder, binary))) return [`${name} is missing (${binary})`];
    if (readStamp(join(folder, stamp)) !== sources)
      return [`${name} is stale: made from other sources than these`];
    return binaryProblems(join(folder, binary)).map((problem) => `${name}: ${problem}`);
  });
}
