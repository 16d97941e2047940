// The prebuilt library of CUDA kernels: prebuilds/cuda/linux-x64/libgradcache_cuda.so, machine code for every supported
// generation of cards. It knows nothing of libtorch, so there is one for all minors.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import {
  Failure,
  filesUnder,
  fingerprint,
  jobs,
  readStamp,
  requireTools,
  root,
  run,
  timed,
  writeStamp,
} from './tools.mjs';

/** Path of the library in prebuilds/. */
export const CUDA_LIBRARY = join('cuda', 'linux-x64', 'libgradcache_cuda.so');

const BUILD = 'build-cuda-fat';

/** The first CUDA toolkit that knows every generation the kernels are compiled for. */
const LEAST_CUDA = [12, 8];

/** Digest of everything the library is compiled from. */
export function cudaSources() {
  return fingerprint(filesUnder(['native/cuda', 'native/core/dropout_key.h'], /\.(cu|cuh|h|map|cmake|txt)$/));
}

/** Makes the library, unless the one there is made from the same sources. */
export async function prebuildCuda() {
  const stamp = join(root, 'prebuilds', 'cuda', 'sources');
  const library = join(root, 'prebuilds', CUDA_LIBRARY);
  const wanted = cudaSources();
  if (readStamp(stamp) === wanted && existsSync(library)) return;
  requireTools('to compile the CUDA kernels', ['C++ compiler', 'cmake', 'make or ninja']);
  requireNvcc();
  rmSync(stamp, { force: true });
  await timed('CUDA kernels', () => {
    run('cmake', ['-S', join('native', 'cuda'), '-B', BUILD, '-DCMAKE_BUILD_TYPE=Release'], {
      quiet: true,
    });
    run('cmake', ['--build', BUILD, '-j', String(jobs())], { quiet: true });
  });
  mkdirSync(dirname(library), { recursive: true });
  const beside = `${library}.${process.pid}.tmp`;
  cpSync(join(root, BUILD, 'libgradcache_cuda.so'), beside);
  renameSync(beside, library);
  writeStamp(stamp, wanted);
}

function requireNvcc() {
  const nvcc = process.env.CUDACXX || 'nvcc';
  const answer = spawnSync(nvcc, ['--version'], { encoding: 'utf8', timeout: 30_000 });
  const [major, minor] = (/release (\d+\.\d+)/.exec(answer.stdout ?? '')?.[1] ?? '0.0')
    .split('.')
    .map(Number);
  if (answer.status === 0 && (major > LEAST_CUDA[0] || (major === LEAST_CUDA[0] && minor >= LEAST_CUDA[1])))
    return;
  const found = answer.status === 0 ? `is of CUDA ${major}.${minor}` : 'was not found';
  const failure = new Failure(
    `The CUDA kernels need the compiler of CUDA ${LEAST_CUDA.join('.')} or later, and ${nvcc} ${found}.\n` +
      'Install the CUDA toolkit (no GPU is needed to compile) and put its bin/ on PATH, or set CUDACXX to its nvcc.\n' +
      'To make all but the kernels: npm run prebuild -- --only addons',
  );
  failure.code = 'SETUP';
  throw failure;
}
