import { optionsThatLoad } from './options-that-load.js';
import { fork, type ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';

/** How long a program that was asked may say nothing. */
const PATIENCE_SECONDS = 60;
const LAST_WORDS = 4096;

/** Why a child program gives no answer. `cause` is what it last wrote to standard error, where it wrote anything. */
export class NoAnswer extends Error {
  readonly why: 'not started' | 'ended' | 'silent' | 'stopped';

  constructor(why: NoAnswer['why'], message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.why = why;
  }
}

/** What a child program sends: first that it has started, then a reply to each request, and signs of life between. */
export type ChildMessage<Reply> =
  | { readonly kind: 'started' }
  | { readonly kind: 'alive' }
  | { readonly kind: 'reply'; readonly reply: Reply };

/** The children that run, which must not outlive this process. */
const running = new Set<ChildProcess>();
const endAll = () => running.forEach((child) => child.kill('SIGKILL'));

/**
 * A program in a process of its own, for work that can end the process it is done in, or go on for ever. It is asked one
 * question at a time. It keeps this process alive only while an answer is awaited.
 *
 * The program calls `endWithParent` of end-with-parent.ts, and then sends `started`.
 */
export class ChildProgram<Request extends object, Reply> {
  readonly #child: ChildProcess;
  readonly #patience: number;
  readonly #signal: AbortSignal | undefined;
  readonly #abort = () => this.#fail(new NoAnswer('stopped', 'the signal stopped it'));
  readonly #clock: NodeJS.Timeout;
  #silentSeconds = 0;
  #started = false;
  #lastWords = '';
  #failure: NoAnswer | undefined;
  #waiting: { resolve: (reply: Reply) => void; reject: (error: NoAnswer) => void } | undefined;

  /**
   * @param signal ends the program
   * @param patience seconds that it may say nothing when it was asked
   * @throws NoAnswer where it cannot be started; most reasons for that come with the first question
   */
  constructor(program: URL, signal?: AbortSignal, patience = PATIENCE_SECONDS) {
    this.#patience = patience;
    this.#signal = signal;
    try {
      this.#child = fork(program, [], {
        serialization: 'advanced',
        execArgv: optionsOfChild(),
        env: { ...process.env, NODE_OPTIONS: withoutInspector(process.env.NODE_OPTIONS ?? '') },
        // Standard input says when this process is gone.
        stdio: ['pipe', 'ignore', 'pipe', 'ipc'],
        // Ctrl-C is for this process: what it does then may need answers still.
        detached: true,
      });
    } catch (error) {
      throw new NoAnswer('not started', (error as Error).message, { cause: error });
    }
    if (running.size === 0) process.on('exit', endAll);
    running.add(this.#child);
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#lastWords = (this.#lastWords + text).slice(-LAST_WORDS);
    });
    this.#child.stdin?.on('error', () => undefined); // a child that has ended reads no more
    this.#child.on('message', (message) => this.#hear(message as ChildMessage<Reply>));
    this.#child.on('error', (error) =>
      this.#fail(new NoAnswer('not started', error.message, { cause: error })),
    );
    this.#child.on('close', (code, signal) => this.#closed(signal ?? `code ${code}`));
    // Seconds are counted that this process lives through: it may be stopped for a while, or have no time to listen.
    this.#clock = setInterval(() => this.#tick(), 1000).unref();
    this.#holdProcess(false);
    signal?.addEventListener('abort', this.#abort, { once: true });
  }

  /** @throws NoAnswer, now and for all later questions */
  ask(request: Request): Promise<Reply> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure);
      this.#waiting = { resolve, reject };
      this.#silentSeconds = 0;
      this.#holdProcess(true);
      // Why a question cannot be sent is told by the event that says how the program ended, or that it never was.
      if (this.#child.connected) this.#child.send(request, () => undefined);
    });
  }

  /** Ends the program, whatever it is doing. */
  end(): void {
    this.#fail(new NoAnswer('stopped', 'it was stopped'));
  }

  #hear(message: ChildMessage<Reply>): void {
    this.#silentSeconds = 0;
    this.#started = true;
    if (message.kind !== 'reply') return;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    this.#holdProcess(false);
    waiting?.resolve(message.reply);
  }

  #closed(how: string): void {
    const reason = /^(\w*Error\b.*:|FATAL ERROR|# Fatal JavaScript).*$/m.exec(this.#lastWords)?.[0];
    const message = `it ended with ${how}${reason === undefined ? '' : ` (${reason})`}`;
    const cause = this.#lastWords === '' ? undefined : new Error(this.#lastWords);
    this.#fail(new NoAnswer(this.#started ? 'ended' : 'not started', message, { cause }));
  }

  #tick(): void {
    if (this.#waiting === undefined || ++this.#silentSeconds < this.#patience) return;
    this.#fail(new NoAnswer('silent', `it said nothing for ${this.#patience} seconds`));
  }

  #fail(failure: NoAnswer): void {
    if (this.#failure !== undefined) return;
    this.#failure = failure;
    clearInterval(this.#clock);
    this.#signal?.removeEventListener('abort', this.#abort);
    this.#child.kill('SIGKILL');
    running.delete(this.#child);
    if (running.size === 0) process.off('exit', endAll);
    this.#holdProcess(false);
    this.#waiting?.reject(failure);
    this.#waiting = undefined;
  }

  #holdProcess(hold: boolean): void {
    const how = hold ? 'ref' : 'unref';
    this.#child[how]();
    this.#child.channel?.[how]();
    (this.#child.stderr as Socket | null | undefined)?.[how]();
    (this.#child.stdin as Socket | null | undefined)?.unref();
  }
}

/**
 * The options of Node that a child is started with. Of those of this process it gets the limits of memory, and what loads
 * packages under Yarn's Plug'n'Play; others, such as a debugger's port or a program on the command line, are not for it.
 */
function optionsOfChild(): string[] {
  // WebAssembly then needs no 10 GB of address space.
  const options = ['--disable-wasm-trap-handler'];
  options.push(...process.execArgv.filter((option) => /^--max[-_]/.test(option)));
  return process.versions.pnp === undefined ? options : [...options, ...optionsThatLoad()];
}

function withoutInspector(nodeOptions: string): string {
  return nodeOptions.replace(/(^|\s)--inspect\S*(\s+[^\s-]\S*)?/g, ' ').trim();
}
