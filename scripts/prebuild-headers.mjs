// Gets what compiling against a libtorch needs, without installing it: the headers, the version and the three libraries to
// link to, from a wheel, and the names that its libtorch_cuda exports for NCCL. They are kept in .cache/libtorch-headers/<version>.
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { exportedNames, NCCL_NAMES } from './prebuild-nccl.mjs';
import { requireTools, root, run, timed } from './tools.mjs';

const UNPACK = `
import sys, zipfile
wheel, folder = sys.argv[1:]
libraries = {f'torch/lib/lib{name}.so' for name in ('c10', 'torch_cpu', 'torch', 'torch_cuda')}
with zipfile.ZipFile(wheel) as archive:
    archive.extractall(folder, [name for name in archive.namelist()
        if name.startswith('torch/include/') or name == 'torch/version.py' or name in libraries])
`;

/**
 * The folder of a libtorch of this minor to compile against, downloaded if it is not there yet. It is the minor's first
 * release, because all later ones have what an addon takes from it.
 */
export async function libtorchHeaders(minor) {
  const version = `${minor}.0`;
  const folder = join(root, '.cache', 'libtorch-headers', version);
  if (existsSync(join(folder, 'torch', 'lib', NCCL_NAMES))) return join(folder, 'torch');
  requireTools(`to download the headers of libtorch ${version}`, ['python3', 'pip']);
  const beside = `${folder}.${process.pid}.tmp`;
  mkdirSync(beside, { recursive: true });
  try {
    await timed(`headers of libtorch ${version} (pip download)`, () => {
      // A wheel of any Python has the same headers and libraries; naming one keeps the choice from this machine's.
      const platform = [
        '--platform',
        'manylinux_2_28_x86_64',
        '--python-version',
        '3.11',
        '--implementation',
        'cp',
      ];
      const options = [
        '--no-deps',
        '--only-binary=:all:',
        '--progress-bar=off',
        ...platform,
        '--dest',
        beside,
      ];
      run('python3', ['-m', 'pip', 'download', ...options, `torch==${version}`], { quiet: true });
      const wheel = readdirSync(beside).find((name) => name.endsWith('.whl'));
      run('python3', ['-c', UNPACK, join(beside, wheel), beside]);
      rmSync(join(beside, wheel));
      const libraries = join(beside, 'torch', 'lib');
      const cuda = join(libraries, 'libtorch_cuda.so');
      writeFileSync(join(libraries, NCCL_NAMES), exportedNames(cuda).join('\n'));
      rmSync(cuda); // larger than all else together
    });
    rmSync(folder, { recursive: true, force: true });
    renameSync(beside, folder);
  } finally {
    rmSync(beside, { recursive: true, force: true });
  }
  return join(folder, 'torch');
}
