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
