// `npm run lint`: ESLint, Prettier and clang-format; `npm run format` (--fix) mends what they can mend.
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { prepare } from './prepare.mjs';
import { filesUnder, main, requireTools, root, run, runBin, timed } from './tools.mjs';

const CLANG_FORMAT = '19.1.7';

/** Runs the linters; throws at the first that finds something. */
export async function lint({ fix = false } = {}) {
  await timed('ESLint', () => runBin('eslint', ['.', '--max-warnings=0', ...(fix ? ['--fix'] : [])]));
  await timed('Prettier', () => runBin('prettier', ['.', '--log-level=warn', fix ? '--write' : '--check']));
  const sources = filesUnder(['native'], /\.(cc|h|cu)$/);
  const mode = fix ? ['-i'] : ['--dry-run', '-Werror'];
  await timed('clang-format', () => run(clangFormat(), [...mode, ...sources]));
}

/** From PyPI into .tools, so that everyone formats with the same version. */
function clangFormat() {
  const folder = join(root, '.tools', `clang-format-${CLANG_FORMAT}`);
  const program = join(folder, 'clang_format', 'data', 'bin', 'clang-format');
  if (existsSync(program)) return program;
  requireTools('to install clang-format', ['python3', 'pip']);
  const beside = `${folder}.${process.pid}.tmp`;
  mkdirSync(join(root, '.tools'), { recursive: true });
  try {
    const target = ['--target', beside, `clang-format==${CLANG_FORMAT}`];
    run('python3', ['-m', 'pip', 'install', '--no-deps', ...target], { quiet: true });
    rmSync(folder, { recursive: true, force: true });
    renameSync(beside, folder);
  } finally {
    rmSync(beside, { recursive: true, force: true });
  }
  return program;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(async () => {
    await prepare('packages');
    await lint({ fix: process.argv.includes('--fix') });
  });
}
