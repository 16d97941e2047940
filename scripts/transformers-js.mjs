// Installs transformers.js for the tests of exported graphs into .cache/transformers-js, as
// test/oracle/transformers-js/package.json has it: without what reads images, the browser's runtime and other systems' libraries.
import { cpSync, existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fingerprint, main, readStamp, root, run, timed, writeStamp } from './tools.mjs';

const folder = join(root, '.cache', 'transformers-js');
const source = join('test', 'oracle', 'transformers-js');

/** Installs it, unless it is there. */
export async function installTransformersJs() {
  const listed = join(source, 'package.json');
  if (!existsSync(join(root, listed))) return;
  const stamp = join(folder, 'stamp');
  const wanted = fingerprint([listed]);
  if (readStamp(stamp) === wanted) return;
  const beside = `${folder}.${process.pid}.tmp`;
  try {
    cpSync(join(root, source), beside, { recursive: true });
    await timed('transformers.js for the tests of exported graphs', () =>
      run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock'], {
        cwd: beside,
        quiet: true,
      }),
    );
    const systems = join(beside, 'node_modules', 'onnxruntime-node', 'bin', 'napi-v6');
    for (const system of readdirSync(systems))
      if (system !== process.platform) rmSync(join(systems, system), { recursive: true });
    rmSync(folder, { recursive: true, force: true });
    renameSync(beside, folder);
  } finally {
    rmSync(beside, { recursive: true, force: true });
  }
  writeStamp(stamp, wanted);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(installTransformersJs);
