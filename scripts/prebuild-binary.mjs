// Reads from a prebuilt binary what it needs of the system that opens it.
import { spawnSync } from 'node:child_process';
import { basename } from 'node:path';
import { Failure } from './tools.mjs';

/** The versions on the oldest system that opens libtorch's own wheels. A binary that needs later ones would not open there. */
const LATEST = { GLIBC: '2.28', GLIBCXX: '3.4.25' };

/** Newest versions of system symbols, needed libraries, run-time search paths and undefined symbols of a shared library. */
export function inspectBinary(path) {
  const headers = output('objdump', ['-p', path]);
  const symbols = output('objdump', ['-T', path]);
  const all = (text, pattern) => [...text.matchAll(pattern)].map((match) => match[1]);
  const newest = (prefix) =>
    all(headers, new RegExp(`\\b${prefix}_(\\d[\\d.]*)`, 'g'))
      .sort(compare)
      .at(-1) ?? null;
  return {
    glibc: newest('GLIBC'),
    glibcxx: newest('GLIBCXX'),
    needed: all(headers, /^\s*NEEDED\s+(\S+)/gm),
    searchPaths: all(headers, /^\s*(?:RPATH|RUNPATH)\s+(\S+)/gm),
    undefinedSymbols: all(symbols, /\*UND\*.*\s(\S+)$/gm),
  };
}

/** What keeps a binary from opening on every system that libtorch opens on. */
export function binaryProblems(path) {
  const { glibc, glibcxx, needed, searchPaths, undefinedSymbols } = inspectBinary(path);
  const cudaLibraries = needed.filter((name) => /cuda|^libcu|^libnv/.test(name));
  const cudaSymbols = undefinedSymbols.filter((name) => /^(cuda|cu[A-Z]|cublas|nccl)|4cuda/.test(name));
  return [
    ...tooNew('GLIBC', glibc),
    ...tooNew('GLIBCXX', glibcxx),
    ...searchPaths.map((folder) => `has a search path: ${folder}`),
    ...cudaLibraries.map((name) => `needs ${name}`),
    ...cudaSymbols.map((name) => `needs the CUDA symbol ${name}`),
  ].map((problem) => `${basename(path)} ${problem}`);
}

function tooNew(prefix, version) {
  if (version === null || compare(version, LATEST[prefix]) <= 0) return [];
  return [`needs ${prefix}_${version}, later than ${prefix}_${LATEST[prefix]}`];
}

function compare(a, b) {
  const [left, right] = [a, b].map((version) => version.split('.').map(Number));
  const at = left.findIndex((number, k) => number !== (right[k] ?? -1));
  return at === -1 ? left.length - right.length : left[at] - (right[at] ?? -1);
}

function output(command, args) {
  const answer = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 64 * 2 ** 20 });
  if (answer.status === 0) return answer.stdout;
  if (answer.error) throw new Failure(`${command} could not be run. To install it: apt-get install binutils`);
  throw new Failure(`${command} ${args.join(' ')} failed:\n${answer.stderr}`);
}
