import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { GradCacheError } from '../../errors.js';

type OnLine = ((line: string) => void) | undefined;

/**
 * Installs torch and what it needs into an empty folder.
 *
 * @throws GradCacheError `SETUP`
 */
export async function installWithPip(
  folder: string,
  version: string,
  pipArguments: readonly string[],
  environment: NodeJS.ProcessEnv,
  onLine: OnLine,
): Promise<void> {
  const pip = ['-m', 'pip', 'install', '--target', folder, `torch==${version}`, ...pipArguments];
  await runTool(python(environment), pip, environment, onLine);
}

/**
 * Unpacks an archive of libtorch (.zip, a wheel, or any tar) into an empty folder. Python's zipfile does the former: unlike
 * most `unzip` it is there wherever pip is, and it reads archives past 4 GB.
 *
 * @throws GradCacheError `SETUP`
 */
export async function extractArchive(
  archive: string,
  folder: string,
  environment: NodeJS.ProcessEnv,
  onLine: OnLine,
): Promise<void> {
  if (/\.(zip|whl)$/i.test(archive)) {
    return runTool(python(environment), ['-m', 'zipfile', '-e', archive, folder], environment, onLine);
  }
  if (/\.(tar(\.\w+)?|tgz|txz)$/i.test(archive)) {
    return runTool('tar', ['-xf', archive, '-C', folder], environment, onLine);
  }
  throw new GradCacheError(
    'SETUP',
    `${archive} is not an archive gradcache unpacks: .zip, .whl, .tar, .tar.gz, .tgz, .tar.xz.`,
  );
}

function python(environment: NodeJS.ProcessEnv): string {
  return environment.GRADCACHE_PYTHON || 'python3';
}

const INSTALL: Readonly<Record<string, string>> = {
  python3: 'apt-get install python3 python3-pip',
  tar: 'apt-get install tar xz-utils',
};

async function runTool(
  command: string,
  args: readonly string[],
  environment: NodeJS.ProcessEnv,
  onLine: OnLine,
): Promise<void> {
  const shown = `${command} ${args.join(' ')}`;
  onLine?.(shown);
  const child = spawn(command, args, { env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
  const last: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      onLine?.(line);
      last.push(line);
      if (last.length > 15) last.shift();
    });
  }
  await new Promise<void>((resolve, reject) => {
    child.on('error', (cause) => {
      const install = INSTALL[command] === undefined ? '' : ` To install it: ${INSTALL[command]}`;
      reject(
        new GradCacheError('SETUP', `${command} could not be run: ${cause.message}.${install}`, { cause }),
      );
    });
    child.on('close', (code, signal) => {
      if (code === 0) return resolve();
      const ending = signal === null ? `ended with code ${code}` : `was ended by ${signal}`;
      const noPip = last.some((line) => line.includes('No module named pip'));
      const advice = noPip ? '\nTo install pip: apt-get install python3-pip' : '';
      reject(new GradCacheError('SETUP', `${shown}\n${ending}:\n${last.join('\n')}${advice}`));
    });
  });
}
