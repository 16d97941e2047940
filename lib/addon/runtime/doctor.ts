import { spawn } from 'node:child_process';
import { availableParallelism, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { GradCacheError } from '../../errors.js';
import { reasonOf } from '../../options/realms.js';
import { askProgram } from './ask-program.js';
import { type AddonBuild, findBuilds, prebuiltPlatforms } from './builds.js';
import { findCudaKernels } from './cuda-kernels.js';
import { deviceTrouble, type Machine } from './device-problems.js';
import { driverVersion, findGpus, type GpuReport } from './gpus.js';
import { chooseBuild } from './load.js';
import { type LoadReport, PROBE_MARK } from './load-report.js';
import { locateLibtorch, searchLibtorch } from './libtorch.js';
import type { LocatedLibtorch, SearchedPlace, SearchOptions } from './libtorch.js';
import { packageRoot, packageVersion } from './paths.js';
import { currentPlatform, nodeProblem, type Platform, platformProblem } from './platform.js';

export type { GpuReport } from './gpus.js';

/** A program that `gradcache setup` or a build from source uses. */
export interface ToolReport {
  readonly name: string;
  readonly version: string | null;
  /** The command that installs it. */
  readonly install: string;
}

/** Something that keeps gradcache from running, or from using the requested device, and what to do. */
export interface Problem {
  /** An error code of the package. */
  readonly code: string;
  readonly message: string;
}

/** Everything that decides whether gradcache runs here, as plain data for JSON. */
export interface DoctorReport {
  /** Whether a training would start. */
  readonly ok: boolean;
  readonly gradcache: { readonly version: string; readonly folder: string };
  readonly node: { readonly version: string; readonly executable: string };
  readonly system: Platform & { readonly processors: number; readonly memory: number };
  /** Version of the NVIDIA driver that is loaded, or null where there is none. */
  readonly driver: string | null;
  /** The GPUs of this machine, in the driver's order, whether or not libtorch can use them. */
  readonly gpus: readonly GpuReport[];
  /** The library of CUDA kernels, or null; `load` tells whether it opens. */
  readonly kernels: string | null;
  /** The libtorch that is used, or null. */
  readonly libtorch: LocatedLibtorch | null;
  /** Every place that was looked at for it. */
  readonly places: readonly SearchedPlace[];
  /** The platforms that this package brings addons for, such as `linux-x64`. */
  readonly platforms: readonly string[];
  /** Every addon there is for this machine; `matches` marks the one that is loaded. */
  readonly builds: readonly (AddonBuild & { readonly matches: boolean })[];
  /** The full load in a child process, or null where there was nothing to load. */
  readonly load: LoadReport | null;
  readonly tools: readonly ToolReport[];
  readonly problems: readonly Problem[];
}

/** Options of {@link doctor}. */
export interface DoctorOptions extends Omit<SearchOptions, 'pythonTorch'> {
  /** The device that must be there, for example `cuda`. */
  readonly device?: string | undefined;
  /** Another platform than this process's own, for tests. */
  readonly platform?: Platform;
  /** Another folder than the NVIDIA driver's own, for tests. */
  readonly driverFolder?: string;
}

/**
 * Looks at everything that gradcache needs: system, libtorch at every place, addons, tools, and a full load in a child
 * process, so that even a library that crashes is reported. Never throws because something is broken.
 */
export async function doctor(options: DoctorOptions = {}): Promise<DoctorReport> {
  const platform = options.platform ?? currentPlatform();
  const root = options.root ?? packageRoot();
  const environment = options.environment ?? process.env;
  const problems: Problem[] = [];
  const driver = driverVersion(options.driverFolder);
  const gpus = findGpus(environment, options.driverFolder);
  const platformTrouble = platformProblem(platform);
  if (platformTrouble !== null) problems.push({ code: 'LIBTORCH_LOAD', message: platformTrouble });

  const nodeTrouble = nodeProblem();
  if (nodeTrouble !== null) problems.push({ code: 'SETUP', message: nodeTrouble });

  const { libtorch, places } = searchLibtorch(options);
  if (libtorch === null) problems.push(problemOf(() => locateLibtorch(options)));
  const builds = findBuilds(root);
  const platforms = prebuiltPlatforms(root);
  let chosen: AddonBuild | undefined;
  if (libtorch !== null) {
    chosen = builds.find((build) => build.minor === libtorch.minor);
    if (chosen === undefined) problems.push(problemOf(() => chooseBuild(libtorch, builds, platforms)));
  }
  let load: LoadReport | null = null;
  if (libtorch !== null && chosen !== undefined && platformTrouble === null) {
    load = await loadInChild(options);
    problems.push(...loadProblems(load, options.device, { libtorch, gpus, driver }));
  }
  return {
    ok: problems.length === 0,
    gradcache: { version: packageVersion(), folder: root },
    node: { version: process.version, executable: process.execPath },
    system: { ...platform, processors: availableParallelism(), memory: totalmem() },
    driver,
    gpus,
    kernels: findCudaKernels(root),
    libtorch,
    places,
    platforms,
    builds: builds.map((build) => ({ ...build, matches: build === chosen })),
    load,
    tools: findTools(environment),
    problems,
  };
}

/** The error that a function throws, as data. */
function problemOf(fails: () => unknown): Problem {
  try {
    fails();
  } catch (error) {
    if (error instanceof GradCacheError) return { code: error.code, message: error.message };
    throw error;
  }
  throw new Error('a function that had to fail did not');
}

/** Node's flags that decide what may be loaded, with their values: the child process gets the same. */
function loadingFlags(): string[] {
  return process.execArgv.flatMap((flag, place, all) => {
    if (!/^--(no-addons|(experimental-)?permission|allow-[\w-]+)(=|$)/.test(flag)) return [];
    return /^--allow-fs-\w+$/.test(flag) ? [flag, all[place + 1] ?? ''] : [flag];
  });
}

/** Loads everything in a child process, and tells what is there. */
export async function loadInChild(
  options: Pick<DoctorOptions, 'environment' | 'libtorch' | 'workingFolder'>,
): Promise<LoadReport> {
  try {
    return await probeInChild(options);
  } catch (error) {
    const message =
      `The process that loads libtorch cannot be started: ${reasonOf(error)}\n` +
      'Under --permission, doctor needs --allow-child-process and --allow-addons.';
    return { ok: false, code: 'LIBTORCH_LOAD', message };
  }
}

async function probeInChild(options: Parameters<typeof loadInChild>[0]): Promise<LoadReport> {
  const script = fileURLToPath(new URL('./load-probe.js', import.meta.url));
  const child = spawn(
    process.execPath,
    [...loadingFlags(), script, ...(options.libtorch === undefined ? [] : [options.libtorch])],
    {
      env: options.environment ?? process.env,
      cwd: options.workingFolder,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 120_000,
    },
  );
  let output = '';
  let errors = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
  const ending = await new Promise<string>((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, signal) =>
      resolve(signal === null ? `it ended with code ${code}` : `it was ended by ${signal}`),
    );
  });
  const line = output.split('\n').find((text) => text.startsWith(PROBE_MARK));
  if (line !== undefined) return JSON.parse(line.slice(PROBE_MARK.length)) as LoadReport;
  return {
    ok: false,
    code: 'LIBTORCH_LOAD',
    message:
      `The process that loads libtorch did not come to its end: ${ending}.\n${errors.slice(-2000)}`.trimEnd(),
  };
}

function loadProblems(
  load: LoadReport,
  device: string | undefined,
  machine: Omit<Machine, 'load'>,
): Problem[] {
  if (!load.ok) return [{ code: load.code, message: load.message }];
  const problems: Problem[] = [];
  const openmp = load.libraries.filter((path) => /lib(gomp|iomp|omp)[^/]*$/.test(path));
  if (openmp.length > 1) {
    problems.push({
      code: 'LIBTORCH_LOAD',
      message: `Two OpenMP runtimes are loaded at once, which slows both down: ${openmp.join(', ')}.`,
    });
  }
  const trouble = deviceTrouble(device, { ...machine, load });
  if (trouble !== null) problems.push({ code: trouble.code, message: trouble.message });
  return problems;
}

const TOOLS: readonly (readonly [name: string, args: readonly string[], install: string])[] = [
  ['c++', ['--version'], 'apt-get install g++'],
  ['cmake', ['--version'], 'apt-get install cmake'],
  ['make', ['--version'], 'apt-get install make'],
  ['ninja', ['--version'], 'apt-get install ninja-build'],
  ['ccache', ['--version'], 'apt-get install ccache'],
  ['python3', ['--version'], 'apt-get install python3'],
  ['pip', ['-m', 'pip', '--version'], 'apt-get install python3-pip'],
];

/** The tools of a set-up or a source build, each with its version and the command that installs it. */
export function findTools(environment: NodeJS.ProcessEnv = process.env): ToolReport[] {
  return TOOLS.map(([name, args, install]) => {
    const command = name === 'pip' ? 'python3' : name;
    const answer = askProgram(command, args, environment);
    const version = answer.status === 0 ? (/\d+(\.\d+)+/.exec(answer.stdout)?.[0] ?? '') : null;
    return { name, version, install };
  });
}
