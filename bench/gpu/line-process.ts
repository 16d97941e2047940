import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';

/** A process that answers each line of JSON on its standard input with one on its standard output, in order. */
export class LineProcess {
  readonly #process: ChildProcess;
  readonly #waiting: { resolve(line: string): void; reject(error: Error): void }[] = [];
  #errors = '';
  #ended: Error | null = null;

  constructor(command: string, args: readonly string[], environment: NodeJS.ProcessEnv = {}) {
    this.#process = spawn(command, args, {
      env: { ...process.env, ...environment },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#process.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-2000);
    });
    this.#process.on('error', (error) => this.#end(error));
    this.#process.on('close', (code, signal) =>
      this.#end(new Error(`${args[0]} ended with ${signal ?? code}: ${this.#errors.slice(-600)}`)),
    );
    this.#process.stdin!.on('error', () => undefined); // the close event says why
    createInterface({ input: this.#process.stdout! }).on('line', (line) =>
      this.#waiting.shift()?.resolve(line),
    );
  }

  /** The answer; `{ error }` where the process reports one, has ended, or does not answer in time (then it is ended). */
  async ask<T>(request: object, seconds: number): Promise<T | { error: string }> {
    if (this.#ended) return { error: this.#ended.message };
    const timer = setTimeout(() => {
      this.#end(new Error(`no answer within ${seconds.toFixed(0)} s`));
      this.#process.kill('SIGKILL');
    }, seconds * 1000);
    try {
      const line = await new Promise<string>((resolve, reject) => {
        this.#waiting.push({ resolve, reject });
        this.#process.stdin!.write(`${JSON.stringify(request)}\n`);
      });
      return JSON.parse(line) as T;
    } catch (error) {
      return { error: (error as Error).message };
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    this.#ended ??= new Error('it was closed');
    this.#process.kill();
  }

  #end(error: Error): void {
    this.#ended ??= error;
    for (const waiting of this.#waiting.splice(0)) waiting.reject(this.#ended);
  }
}
