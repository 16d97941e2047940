// Installs the Python side of the tests in test/oracle into .cache/oracle: what test/oracle/requirements.txt lists, without
// dependencies, because torch itself comes from the libtorch in use.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, openSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  Failure,
  fingerprint,
  main,
  readStamp,
  requireTools,
  root,
  run,
  timed,
  writeStamp,
} from './tools.mjs';

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

/**
 * Starts a process that imports all that test/oracle/oracle.py needs, once, and of which each test file gets a copy: the imports
 * take longer than most tests. It ends with this process at the latest.
 *
 * @returns where it listens, for GRADCACHE_ORACLE, and how it is ended
 */
export async function startOracle() {
  const { oracleLog, pythonEnvironment } = await import('../dist/test/oracle/python.js');
  const folder = mkdtempSync(join(tmpdir(), 'gradcache-oracle-'));
  const socket = join(folder, 'socket');
  const python = process.env.GRADCACHE_PYTHON || 'python3';
  const child = spawn(python, [join('test', 'oracle', 'oracle.py'), socket], {
    cwd: root,
    // As in the tests: a thread that waits must give its processor up.
    env: { ...pythonEnvironment(), OMP_WAIT_POLICY: 'passive' },
    stdio: ['pipe', 'pipe', openSync(oracleLog, 'w')],
  });
  const end = () => {
    child.kill();
    rmSync(folder, { recursive: true, force: true });
  };
  const ended = new Promise((resolve) => child.once('error', resolve).once('exit', resolve));
  if (await Promise.race([once(child.stdout, 'data').then(() => false), ended.then(() => true)])) {
    end();
    throw new Failure(`${python} cannot run test/oracle/oracle.py: ${oracleLog} says why`);
  }
  return { socket, end };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(installOracle);
