// Installs the Python side of the tests in test/oracle into .cache/oracle: what test/oracle/requirements.txt lists, without
// dependencies, because torch itself comes from the libtorch in use.
import { existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fingerprint, main, readStamp, requireTools, root, run, timed, writeStamp } from './tools.mjs';

/** Folder that PYTHONPATH names for the oracle's programs. */
export const oracleFolder = join(root, '.cache', 'oracle');

/** Installs what is listed, unless it is there. */
export async function installOracle() {
  const requirements = join('test', 'oracle', 'requirements.txt');
  if (!existsSync(join(root, requirements))) return;
  const stamp = join(oracleFolder, 'stamp');
  const wanted = fingerprint([requirements]);
  if (readStamp(stamp) === wanted) return;
  requireTools('for the tests that compare with PyTorch', ['python3', 'pip']);
  const beside = `${oracleFolder}.${process.pid}.tmp`;
  try {
    await timed('Python packages of the oracle tests', () =>
      run('python3', ['-m', 'pip', 'install', '--no-deps', '--target', beside, '-r', requirements], {
        quiet: true,
      }),
    );
    rmSync(oracleFolder, { recursive: true, force: true });
    renameSync(beside, oracleFolder);
  } finally {
    rmSync(beside, { recursive: true, force: true });
  }
  writeStamp(stamp, wanted);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(installOracle);
