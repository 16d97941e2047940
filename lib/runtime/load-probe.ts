// The program that `doctor` runs in a child process: loads everything for real and prints what happened as one line of JSON.
// If a library crashes while it is opened, it is this process that ends, and doctor says so.
import { readFileSync } from 'node:fs';
import { GradCacheError } from '../errors.js';
import { loadAddon } from './load.js';
import { type LoadReport, PROBE_MARK } from './load-report.js';

/** What the probe needs of the addon; lib/native.ts types the rest. */
interface ProbedAddon {
  devices(): string[];
}

function probe(libtorch: string | undefined): LoadReport {
  try {
    const start = performance.now();
    const loaded = loadAddon({ libtorch });
    const milliseconds = performance.now() - start;
    return {
      ok: true,
      milliseconds,
      addon: loaded.addonPath,
      libraries: mappedLibraries(),
      devices: (loaded.addon as ProbedAddon).devices(),
    };
  } catch (error) {
    const code = error instanceof GradCacheError ? error.code : 'LIBTORCH_LOAD';
    return { ok: false, code, message: error instanceof Error ? error.message : String(error) };
  }
}

function mappedLibraries(): string[] {
  const paths = readFileSync('/proc/self/maps', 'utf8').match(
    /\/\S*\/lib(c10|torch|gomp|iomp|omp)[^/\s]*\.so[^/\s]*$/gm,
  );
  return [...new Set(paths)].sort();
}

console.log(PROBE_MARK + JSON.stringify(probe(process.argv[2])));
