import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { GradCacheError } from '../../errors.js';
import { askProgram } from './ask-program.js';
import { inspectLibtorch, type LibtorchFolder } from './libtorch-folder.js';
import { cacheFolder, packageRoot, PROJECT_LIBTORCH, projectFolder, SUPPORTED_MINORS } from './paths.js';

/** The places a libtorch is looked for, in the order they are looked at. */
export type LibtorchSource = 'option' | 'GRADCACHE_LIBTORCH' | 'LIBTORCH' | 'project' | 'setup' | 'python';

/** A libtorch that can be used, and where it was found. */
export interface LocatedLibtorch extends LibtorchFolder {
  readonly source: LibtorchSource;
}

/** One place that was looked at. */
export interface SearchedPlace {
  readonly source: LibtorchSource;
  /** What this place pointed at, or null where it pointed nowhere (a variable that is not set, no Python). */
  readonly path: string | null;
  /** What was found there, in words. */
  readonly found: string;
  /** The version found, where it is a libtorch of an unsupported version. */
  readonly version: string | null;
}

/** Outcome of a search: the first usable libtorch, if any, and every place looked at up to it. */
export interface LibtorchSearch {
  readonly libtorch: LocatedLibtorch | null;
  readonly places: readonly SearchedPlace[];
}

/** Options of {@link searchLibtorch}. All but `libtorch` exist for callers with a world of their own, such as tests. */
export interface SearchOptions {
  /** A folder to use; nothing else is looked at then. */
  readonly libtorch?: string | undefined;
  readonly environment?: NodeJS.ProcessEnv;
  readonly workingFolder?: string;
  /** Where gradcache itself lies. */
  readonly root?: string;
  /** Returns the folder of the active Python's torch, or the reason there is none. */
  readonly pythonTorch?: () => { path: string } | { reason: string };
}

/**
 * Looks for a libtorch: the option, `GRADCACHE_LIBTORCH`, `LIBTORCH`, what `gradcache setup` installed (the project's
 * `.libtorch`, then the user's cache folder), the active Python's torch. Nothing is loaded. If the option or
 * `GRADCACHE_LIBTORCH` names no usable libtorch, the search ends there: a wrong setting is never ignored silently.
 */
export function searchLibtorch(options: SearchOptions = {}): LibtorchSearch {
  const places: SearchedPlace[] = [];
  for (const { source, path, absent, final } of candidates(options)) {
    if (path === null) {
      places.push({ source, path, found: absent ?? 'not set', version: null });
      continue;
    }
    const inspection = inspectLibtorch(path);
    if (inspection.libtorch !== null) {
      places.push({ source, path, found: `libtorch ${inspection.libtorch.version}`, version: null });
      return { libtorch: { ...inspection.libtorch, source }, places };
    }
    places.push({ source, path, found: inspection.reason, version: inspection.version });
    if (final) break;
  }
  return { libtorch: null, places };
}

interface Candidate {
  readonly source: LibtorchSource;
  readonly path: string | null;
  /** Why there is no path. */
  readonly absent?: string;
  /** True if the search ends here even if the path holds no usable libtorch. */
  readonly final?: boolean;
}

/** In order, and lazily: Python is asked only when nothing before it served. */
function* candidates(options: SearchOptions): Generator<Candidate> {
  const environment = options.environment ?? process.env;
  yield { source: 'option', path: options.libtorch ?? null, absent: 'not given', final: true };
  yield { source: 'GRADCACHE_LIBTORCH', path: environment.GRADCACHE_LIBTORCH || null, final: true };
  yield { source: 'LIBTORCH', path: environment.LIBTORCH || null };

  const project = projectFolder(options.workingFolder);
  const installed = [...new Set([project, options.root ?? packageRoot()])]
    .map((folder) => join(folder, PROJECT_LIBTORCH))
    .filter((path) => existsSync(path));
  for (const path of installed) yield { source: 'project', path };
  if (installed.length === 0)
    yield { source: 'project', path: null, absent: `no ${PROJECT_LIBTORCH} in ${project}` };

  const setup = installedFolder(environment);
  if (setup === null) yield { source: 'setup', path: null, absent: NO_CACHE };
  else if (existsSync(setup)) yield { source: 'setup', path: setup };
  else yield { source: 'setup', path: null, absent: `nothing installed at ${setup}` };

  const answer = (options.pythonTorch ?? (() => pythonTorch(environment)))();
  if ('path' in answer) yield { source: 'python', path: answer.path };
  else yield { source: 'python', path: null, absent: answer.reason };
}

/** Why there is no cache folder, and what to do. */
export const NO_CACHE = 'this user has no home folder: set HOME or GRADCACHE_CACHE to a folder';

/** The link in the user's cache folder that `gradcache setup` points at what it installed last; null without such a folder. */
export function installedFolder(environment: NodeJS.ProcessEnv = process.env): string | null {
  const cache = cacheFolder(environment);
  return cache === null ? null : join(cache, 'libtorch', 'current');
}

/** Asks the active Python where its torch lies, without importing it. `GRADCACHE_PYTHON` names another interpreter. */
export function pythonTorch(
  environment: NodeJS.ProcessEnv = process.env,
): { path: string } | { reason: string } {
  const python = environment.GRADCACHE_PYTHON || 'python3';
  const question =
    'import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")';
  // -c puts the working folder first on the module path, where any folder named torch would be taken for the package.
  const answer = askProgram(python, ['-c', `import sys; sys.path[:1] = []; ${question}`], environment);
  if (answer.reason !== undefined) return { reason: `${python} ${answer.reason}` };
  const path = answer.status === 0 ? answer.stdout.trim() : '';
  if (path !== '') return { path };
  return {
    reason: answer.status === 0 ? `${python} has no torch` : `${python} failed: ${answer.stderr.trim()}`,
  };
}

/**
 * The libtorch to use.
 *
 * @throws GradCacheError `LIBTORCH_NOT_FOUND` when no place held one, `LIBTORCH_VERSION` when the only ones found are of
 * unsupported versions; the message lists every place, what was found there, and the command that helps.
 */
export function locateLibtorch(options: SearchOptions = {}): LocatedLibtorch {
  const search = searchLibtorch(options);
  if (search.libtorch !== null) return search.libtorch;
  const unsupported = search.places.find((place) => place.version !== null);
  if (unsupported !== undefined) {
    throw new GradCacheError(
      'LIBTORCH_VERSION',
      `libtorch ${unsupported.version} is not supported.\n${describePlaces(search.places)}\n${wayOut()}`,
    );
  }
  throw new GradCacheError(
    'LIBTORCH_NOT_FOUND',
    `No libtorch was found.\n${describePlaces(search.places)}\n${wayOut()}`,
  );
}

/** The places looked at, one a line. */
export function describePlaces(places: readonly SearchedPlace[]): string {
  const lines = places.map((place) => {
    const where = place.path === null ? '' : `${place.path}: `;
    return `  ${place.source.padEnd(18)}  ${where}${place.found}`;
  });
  return ['Looked at:', ...lines].join('\n');
}

function wayOut(): string {
  return [
    `gradcache needs libtorch ${SUPPORTED_MINORS.slice(0, -1).join(', ')} or ${SUPPORTED_MINORS.at(-1)}, CPU or CUDA.`,
    'To install one:           npx gradcache setup',
    'To use one that is there: set GRADCACHE_LIBTORCH to its folder (site-packages/torch, or an unpacked libtorch)',
  ].join('\n');
}
