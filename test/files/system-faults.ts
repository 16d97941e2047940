import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import type { TestContext } from 'node:test';

/** An error as the system gives it. */
export function systemError(code: string, syscall = 'open'): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: as the system says it, ${syscall}`), { code, syscall, errno: -1 });
}

/** Puts another function in place of one of node:fs/promises, for all modules, until the test ends. */
export function replacePromised<Name extends 'open' | 'rename' | 'mkdir' | 'stat'>(
  context: TestContext,
  name: Name,
  make: (real: (typeof fs.promises)[Name]) => unknown,
): void {
  put(context, fs.promises, name, make(fs.promises[name]));
}

/** The same for fsync, which has no promised form. */
export function replaceFsync(context: TestContext, code: string): void {
  const refusing = (_: number, done: (error: Error) => void): void => done(systemError(code, 'fsync'));
  put(context, fs, 'fsync', refusing);
}

function put(context: TestContext, holder: object, name: string, value: unknown): void {
  const functions = holder as Record<string, unknown>;
  const real = functions[name];
  functions[name] = value;
  syncBuiltinESMExports();
  context.after(() => {
    functions[name] = real;
    syncBuiltinESMExports();
  });
}

/** Every file that is opened is seen through these changes to its FileHandle. */
export function changeFiles(
  context: TestContext,
  changes: Readonly<Record<string, (real: (...args: unknown[]) => unknown, ...args: unknown[]) => unknown>>,
): void {
  replacePromised(context, 'open', (real) => async (...args: Parameters<typeof real>) => {
    const file = await real(...args);
    return new Proxy(file, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        const bound = value.bind(target) as (...args: unknown[]) => unknown;
        const change = changes[String(name)];
        return change === undefined ? bound : (...given: unknown[]) => change(bound, ...given);
      },
    });
  });
}

const PROMISED = ['access', 'appendFile', 'cp', 'lstat', 'mkdir', 'open', 'readdir', 'readFile'].concat([
  'realpath',
  'rename',
  'rm',
  'rmdir',
  'stat',
  'symlink',
  'writeFile',
]);
const OF_FILES = new Set(['read', 'readFile', 'stat', 'write', 'writeFile', 'appendFile', 'truncate']);

/** Counts the calls of the system, and can let one of them fail. */
export class FailingSystem {
  calls = 0;
  /** The call that fails, from 1. */
  failing = 0;
  /** What that call was. */
  failed = '';

  constructor(context: TestContext) {
    for (const name of PROMISED) {
      const real = (fs.promises as unknown as Record<string, (...args: unknown[]) => Promise<object>>)[name]!;
      put(context, fs.promises, name, async (...args: unknown[]) => {
        this.#count(`${name} ${String(args[0])}`, name);
        const result = await real(...args);
        return name === 'open' ? this.#counting(result, String(args[0])) : result;
      });
    }
    const real = fs.fsync;
    put(context, fs, 'fsync', (fd: number, done: (error: Error | null) => void) => {
      try {
        this.#count('fsync', 'fsync');
      } catch (error) {
        return done(error as Error);
      }
      return real(fd, done);
    });
  }

  #count(what: string, syscall: string): void {
    if (++this.calls !== this.failing) return;
    this.failed = what;
    throw systemError('EIO', syscall);
  }

  #counting(file: object, path: string): object {
    return new Proxy(file, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        return (...args: unknown[]): unknown => {
          if (OF_FILES.has(String(name))) this.#count(`${String(name)} ${path}`, String(name));
          return (value as (...given: unknown[]) => unknown).apply(target, args);
        };
      },
    });
  }
}
