// Checks that everything prebuilt in the published package is there, is made from the present sources, and opens on old
// systems.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { addonSources, ARCHITECTURES, stampOf } from './build-addon.mjs';
import { bootSources } from './prebuild.mjs';
import { binaryProblems } from './prebuild-binary.mjs';
import { CUDA_LIBRARY, cudaSources } from './prebuild-cuda.mjs';
import { readStamp, root } from './tools.mjs';

/** A line for each thing that is missing, stale or unfit. Without any, the package may be published. */
export function prebuildProblems(minors, folder = join(root, 'prebuilds')) {
  const parts = [
    ...ARCHITECTURES.flatMap((architecture) => [
      ...minors.map((minor) => ({
        name: `the addon for libtorch ${minor} on ${architecture}`,
        binary: join(`torch-${minor}`, 'prebuilds', `linux-${architecture}`, 'gradcache.glibc.node'),
        stamp: join(`torch-${minor}`, stampOf(architecture)),
        sources: addonSources(),
      })),
      {
        name: `the boot addon on ${architecture}`,
        binary: join('boot', 'prebuilds', `linux-${architecture}`, 'boot.glibc.node'),
        stamp: join('boot', stampOf(architecture)),
        sources: bootSources(),
      },
    ]),
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
