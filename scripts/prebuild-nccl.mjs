// Checks that a libtorch exports the two constructors by whose names the addon makes NCCL's group (native/distributed/nccl.cc).
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Failure, root, say } from './tools.mjs';

/** Beside a libtorch's libraries: the names of its class for NCCL, which are kept when libtorch_cuda is not. */
export const NCCL_NAMES = 'nccl-names.txt';

/** The names that the addon looks up. */
export function neededNames() {
  const source = readFileSync(join(root, 'native', 'distributed', 'nccl.cc'), 'utf8');
  const names = [...source.matchAll(/constexpr const char\* k\w+ =((?:\s*"[^"]*")+);/g)].map(([, literals]) =>
    [...literals.matchAll(/"([^"]*)"/g)].map(([, part]) => part).join(''),
  );
  if (names.length === 2 && names.every((name) => name.startsWith('_ZN4c10d16ProcessGroupNCCL')))
    return names;
  throw new Failure(
    'native/distributed/nccl.cc has not the two names that scripts/prebuild-nccl.mjs looks for',
  );
}

/** The names that a libtorch_cuda exports of its class for NCCL. */
export function exportedNames(library) {
  const command = 'nm -D --defined-only "$1" | grep -o "_ZN4c10d16ProcessGroupNCCL.*"';
  const options = { encoding: 'utf8', maxBuffer: 2 ** 26 };
  const { stdout, stderr } = spawnSync('sh', ['-c', command, 'sh', library], options);
  if (stderr !== '') throw new Failure(`nm ${library} failed. It is in binutils.\n${stderr}`);
  return stdout.trim().split('\n');
}

/** @throws Failure where NCCL's group cannot be made in the libtorch of this folder */
export function requireNccl({ folder, version }) {
  const kept = join(folder, 'lib', NCCL_NAMES);
  const library = join(folder, 'lib', 'libtorch_cuda.so');
  if (!existsSync(kept) && !existsSync(library))
    return say(`libtorch ${version} here is without CUDA: NCCL's names are not looked for`);
  const exported = existsSync(kept) ? readFileSync(kept, 'utf8').split('\n') : exportedNames(library);
  const missing = neededNames().filter((name) => !exported.includes(name));
  if (missing.length === 0) return;
  throw new Failure(
    `libtorch ${version} does not export ${missing.join(' nor ')}: native/distributed/nccl.cc cannot make NCCL's group there`,
  );
}
