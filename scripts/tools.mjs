// What the scripts share: running programs, naming the missing ones, fingerprints of sources. It imports Node's own modules
// alone, because the scripts run before anything is installed.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository's folder. */
export const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** A failure that is told in its message alone, without a stack. */
export class Failure extends Error {}

/** Runs the body of a script; a failure ends the process with its message and code 1. */
export async function main(body) {
  try {
    await body();
  } catch (error) {
    const plain = error instanceof Failure || error?.name === 'GradCacheError';
    console.error(plain ? `\n${error.code ? `${error.code}: ` : ''}${error.message}` : error);
    process.exitCode = 1;
  }
}

/** A line about what the scripts do, on stderr so that stdout stays the program's own. */
export function say(text) {
  process.stderr.write(`[gradcache] ${text}\n`);
}

/**
 * Runs a program in the repository's folder with its output on our stderr (or `stdout: 'inherit'`); throws where it fails.
 * `quiet` shows the output only on failure.
 */
export function run(command, args, { cwd = root, env = {}, stdout = 2, quiet = false } = {}) {
  const result = spawnSync(command, args, {
    cwd,
    env: { ...process.env, ...env },
    stdio: quiet ? ['ignore', 'pipe', 'pipe'] : ['ignore', stdout, 2],
    maxBuffer: 256 * 2 ** 20,
  });
  if (result.error) throw new Failure(`${command} could not be run: ${result.error.message}`);
  if (result.status !== 0) {
    if (quiet) process.stderr.write(Buffer.concat([result.stdout, result.stderr]));
    const ending = result.signal ? `was ended by ${result.signal}` : `ended with code ${result.status}`;
    throw new Failure(`${[command, ...args].join(' ')} ${ending}`);
  }
}

/** Runs the program of an installed package, for example `bin('tsc')`. */
export function runBin(name, args, options) {
  run(process.execPath, [join(root, 'node_modules', '.bin', name), ...args], options);
}

/** Runs a step and says how long it took. */
export async function timed(name, body) {
  say(`${name} …`);
  const start = performance.now();
  await body();
  say(`${name}: ${((performance.now() - start) / 1000).toFixed(1)} s`);
}

const TOOLS = {
  'C++ compiler': { commands: [process.env.CXX, 'c++', 'g++', 'clang++'], install: 'apt-get install g++' },
  cmake: { commands: ['cmake'], least: [3, 20], install: 'apt-get install cmake' },
  'make or ninja': { commands: ['ninja', 'make'], install: 'apt-get install make' },
  python3: { commands: ['python3'], install: 'apt-get install python3' },
  pip: { commands: ['python3'], args: ['-m', 'pip', '--version'], install: 'apt-get install python3-pip' },
};

/** Throws one failure that names every missing tool of those given, each with the command that installs it. */
export function requireTools(purpose, names) {
  const missing = names.flatMap((name) => {
    const { commands, args = ['--version'], least, install } = TOOLS[name];
    const answers = commands
      .filter(Boolean)
      .map((command) => spawnSync(command, args, { encoding: 'utf8', timeout: 30_000 }))
      .filter((answer) => answer.status === 0);
    if (answers.length === 0) return [`  ${name}: not found. To install it: ${install}`];
    const version = /\d+(\.\d+)+/.exec(answers[0].stdout)?.[0] ?? '';
    if (least && isOlder(version, least)) {
      return [
        `  ${name}: version ${version}, needed is ${least.join('.')} or later. To install it: pip install cmake`,
      ];
    }
    return [];
  });
  if (missing.length > 0)
    throw new Failure(`Missing on this machine, needed ${purpose}:\n${missing.join('\n')}`);
}

function isOlder(version, least) {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major < least[0] || (major === least[0] && minor < least[1]);
}

/** How many compiler processes fit this machine: one for each processor and each 2 GB of memory. */
export function jobs() {
  return Math.max(1, Math.min(availableParallelism(), Math.floor(totalmem() / 2e9)));
}

/** Every file under the folders (or the files) given whose path matches, sorted. Paths are relative to the repository. */
export function filesUnder(paths, pattern = /./) {
  const found = [];
  const walk = (path) => {
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      const child = join(path, entry.name);
      if (entry.isDirectory()) walk(child);
      else if (pattern.test(child)) found.push(relative(root, child));
    }
  };
  for (const path of paths.map((name) => join(root, name)).filter((name) => existsSync(name))) {
    if (readdirOrNull(path)) walk(path);
    else found.push(relative(root, path));
  }
  return found.sort();
}

function readdirOrNull(path) {
  try {
    return readdirSync(path);
  } catch {
    return null;
  }
}

/** A digest of names and contents: the same in every checkout of the same sources. */
export function fingerprint(files, ...facts) {
  const hash = createHash('sha256');
  for (const file of files)
    hash
      .update(`${file}\0`)
      .update(readFileSync(join(root, file)))
      .update('\0');
  return hash.update(JSON.stringify(facts)).digest('hex');
}

/** What a stamp file says, or null. */
export function readStamp(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : null;
}

export function writeStamp(path, text) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.${process.pid}.tmp`, text);
  renameSync(`${path}.${process.pid}.tmp`, path);
}
