import { GradCacheError } from '../../errors.js';

/** The operating system as far as loading libtorch depends on it. */
export interface Platform {
  /** As `process.platform`. */
  readonly system: string;
  /** As `process.arch`. */
  readonly architecture: string;
  /** Version of the GNU C library this process runs on, or null on another one (musl). */
  readonly glibc: string | null;
}

let current: Platform | undefined;

/** The platform of this process. The report that names the C library takes some milliseconds, so it is asked for once. */
export function currentPlatform(): Platform {
  if (current === undefined) {
    const report = process.report as NodeJS.ProcessReport & { excludeNetwork?: boolean };
    report.excludeNetwork = true; // otherwise it resolves the names of every open connection
    const { header } = report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
    current = {
      system: process.platform,
      architecture: process.arch,
      glibc: header.glibcVersionRuntime ?? null,
    };
  }
  return current;
}

/** A sentence that says why libtorch cannot be loaded on this platform and what to do; null if it can. */
export function platformProblem(platform: Platform): string | null {
  if (platform.system !== 'linux') {
    return `gradcache runs on Linux; this is ${platform.system}-${platform.architecture}. Use a Linux machine, a container or WSL.`;
  }
  if (platform.glibc === null) {
    return (
      'This Node.js runs on musl (Alpine), and libtorch is built for glibc only. ' +
      'Use an image with glibc, such as node:22-bookworm-slim instead of node:22-alpine.'
    );
  }
  return null;
}

/** A sentence that says that this Node.js is too old and what to do, as package.json's `engines` has it; or null. */
export function nodeProblem(version = process.versions.node): string | null {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const serves = major === 20 ? minor >= 19 : major === 22 ? minor >= 12 : major > 22;
  if (serves) return null;
  return `gradcache runs on Node.js 20.19 or a newer 20, and on 22.12 or newer; this is ${version}. Install one of these.`;
}

/**
 * Refuses a platform on which no libtorch can be loaded.
 *
 * @throws GradCacheError `LIBTORCH_LOAD`
 */
export function assertPlatform(platform: Platform = currentPlatform()): void {
  const problem = platformProblem(platform);
  if (problem !== null) throw new GradCacheError('LIBTORCH_LOAD', problem);
}
