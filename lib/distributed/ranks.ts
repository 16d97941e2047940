import { join } from 'node:path';
import { guarded, guardedAsync, loadedLibtorch, native, type GroupHandle } from '../addon/native.js';
import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireNumber, requireOneOf, requireString } from '../options/option-values.js';
import { isPlainObject, reasonOf } from '../options/realms.js';
import { devices } from '../tensor/memory.js';
import { requireParameterList } from '../tensor/parameter-list.js';
import { requireDevice } from '../tensor/tensor-data.js';
import type { Parameter } from '../tensor/tensor.js';
import { placeFromLauncher, placeFromSlurm, type Place } from './environment.js';
import {
  describeError,
  errorOfRank,
  isStopped,
  meet,
  STANDING,
  type Heard,
  type Standing,
  type Words,
} from './meeting.js';

/** Options of {@link Ranks.join}. */
export interface RanksOptions {
  /**
   * Where this rank's encoders are: `'cpu'` (default), `'cuda:N'`, or `'cuda'`, which is the GPU with the rank's number on its
   * machine, or the only one that it sees.
   */
  readonly device?: string;
  /** Seconds without a sign of life from another rank, after which a rank gives up. Default 600. */
  readonly timeout?: number;
  /**
   * Who started the ranks. `'launcher'` (default): torchrun, `gradcache train --gpus`, or any program that sets RANK,
   * WORLD_SIZE, MASTER_ADDR and MASTER_PORT. `'slurm'`: srun.
   */
  readonly from?: 'launcher' | 'slurm';
}

/** An error of another rank, for those that could have gone on. */
export class OtherRank extends GradCacheError {
  /** Whether all can try again with less memory on the rank where it ran out. */
  readonly retry: boolean;

  constructor(error: GradCacheError, retry: boolean) {
    super(error.code, error.message);
    this.retry = retry;
  }
}

/** How {@link Ranks.together} asks about the work. */
export interface TogetherOptions<T> {
  /** Numbers that each rank tells the others with its result. */
  readonly numbers?: (result: T) => readonly number[];
  /** Bytes that it tells them. */
  readonly bytes?: (result: T) => Uint8Array;
  /** Whether an error of the work is one of memory that all can try again after. */
  readonly retry?: (error: unknown) => boolean;
}

/** What {@link Ranks.together} gives. */
export interface Told<T> {
  /** Of this rank. */
  readonly result: T;
  /** The numbers and the bytes of each rank. */
  readonly all: readonly (readonly number[])[];
  readonly bytes: readonly Uint8Array[];
}

/** What the constructor asks for. */
const OWN = Symbol('Ranks');

/** A rank that works tells the others so after this many seconds. */
const HEARTBEAT = 10;

/**
 * Processes that train one model together, each with rows of its own; one for each GPU. The loss is over the rows of all, and
 * so are the gradients. Every rank makes the same calls in the same order.
 *
 * @example
 * ```ts
 * const ranks = await Ranks.join({ device: 'cuda' }); // null where no launcher started this process
 * const gradcache = new GradCache({ encoders: [model, model], loss: infoNCE(), ranks });
 * ```
 */
export class Ranks {
  /** This process's number, from 0. */
  readonly rank: number;
  /** How many there are. */
  readonly size: number;
  /** This process's number among those of its machine. */
  readonly localRank: number;
  /** Where its encoders belong: `'cpu'` or `'cuda:N'`. */
  readonly device: string;
  readonly #group: GroupHandle;
  readonly #heartbeat: number;
  /** The last exchange: exchanges follow one another. */
  #last: Promise<unknown> = Promise.resolve();
  #working = false;
  #failure: unknown;

  private constructor(own: symbol, place: Place, device: string, timeout: number, group: GroupHandle) {
    if (own !== OWN) throw new GradCacheError('INPUT', 'Ranks.join() meets the other ranks, not new');
    this.rank = place.rank;
    this.size = place.size;
    this.localRank = place.localRank;
    this.device = device;
    this.#group = group;
    this.#heartbeat = Math.min(HEARTBEAT, timeout / 3) * 1000;
  }

  /**
   * Meets the other ranks. Null in a process to which no launcher gave a place: it trains alone. Join before you make encoders,
   * so that memory that GPUs need to exchange is not given to chunks.
   *
   * @throws GradCacheError `DISTRIBUTED` if they do not meet within the timeout; `INPUT` for wrong options or variables;
   * `DEVICE`, `CUDA_UNAVAILABLE`
   */
  static async join(options: RanksOptions = {}): Promise<Ranks | null> {
    checkKnown('Ranks.join', options, ['device', 'timeout', 'from']);
    const { device = 'cpu', timeout = 600, from = 'launcher' } = options;
    requireDevice('device', device);
    requireNumber('timeout', timeout, { above: 0, to: 1e6 });
    requireOneOf('from', from, ['launcher', 'slurm']);
    const place = from === 'slurm' ? placeFromSlurm(process.env) : placeFromLauncher(process.env);
    if (place === null) return null;
    const { libtorch } = loadedLibtorch();
    const own = ownDevice(device, place);
    const group = await guardedAsync(() =>
      native().joinGroup({
        host: place.host,
        port: place.port,
        rank: place.rank,
        size: place.size,
        server: place.server,
        prefix: place.prefix,
        timeout: Math.ceil(timeout * 1000),
        device: own,
        libtorchCuda: join(libtorch.folder, 'lib', 'libtorch_cuda.so'),
      }),
    );
    return new Ranks(OWN, place, own, timeout, group);
  }

  /**
   * Gives all ranks the values that the parameters have on rank 0.
   *
   * @throws GradCacheError `DISTRIBUTED`; `INPUT`, `SHAPE` if they are others on some rank
   */
  async broadcast(parameters: readonly Parameter[]): Promise<void> {
    const list = requireParameterList('parameters', parameters);
    const what = 'sending parameters to all ranks';
    const sizes = await this.numbers([list.length, ...list.map(({ tensor }) => tensor.size)]);
    const differs = sizes.findIndex((each) => each.join() !== sizes[0]!.join());
    if (differs >= 0)
      throw new GradCacheError(
        'SHAPE',
        `rank ${differs} has other parameters than rank 0: ${sizes[differs]![0]} tensors against ${sizes[0]![0]}, or tensors ` +
          'of other sizes',
      );
    for (const { tensor } of list)
      await this.#inTurn(() => guardedAsync(() => this.#group.broadcast(tensor.handle, 0, what)));
  }

  /**
   * Tells all ranks some numbers.
   *
   * @returns the numbers of each rank
   * @throws GradCacheError `DISTRIBUTED`
   */
  async numbers(own: readonly number[]): Promise<number[][]> {
    if (!Array.isArray(own) || own.some((each) => typeof each !== 'number'))
      throw refused('the numbers of a rank', own, 'a list of numbers');
    const { numbers } = await this.#meet({
      what: 'exchanging numbers',
      standing: STANDING.fine,
      numbers: own,
    });
    return numbers.map((each) => [...each]);
  }

  /**
   * Tells all ranks some bytes; for the package's own modules.
   *
   * @returns the bytes of each rank
   * @throws GradCacheError `DISTRIBUTED`
   */
  async bytes(what: string, own: Uint8Array): Promise<readonly Uint8Array[]> {
    return (await this.#meet({ what, standing: STANDING.fine, bytes: own })).bytes;
  }

  /**
   * Runs work on every rank and waits until all have done theirs, however long that takes: a rank that works gives signs of
   * life. If one fails, all throw: it its own error, the others an error with the same code and the number of that rank. The
   * work must not use the ranks.
   *
   * @param what what the ranks do, the same on all: `'saving the model'`
   * @throws GradCacheError `DISTRIBUTED` if another rank ended, or is at another place; also whatever the work throws
   */
  async agree<T>(what: string, work: () => T | Promise<T>): Promise<T> {
    requireString('what', what);
    if (typeof work !== 'function') throw refused('work', work, 'a function');
    return (await this.together(what, work)).result;
  }

  /**
   * Like {@link Ranks.agree}, with numbers of all ranks; for the package's own modules.
   *
   * @throws OtherRank where another rank failed
   */
  async together<T>(
    what: string,
    work: () => T | Promise<T>,
    { numbers = () => [], bytes, retry = () => false }: TogetherOptions<T> = {},
  ): Promise<Told<T>> {
    this.#requireFree();
    let words: Words | null = null;
    let outcome: { result: T } | { error: unknown } | undefined;
    this.#working = true;
    const done = settled(work)
      .then((settledTo) => {
        outcome = settledTo;
        if ('error' in settledTo) throw settledTo.error;
        const { result } = settledTo;
        words = { what, standing: STANDING.fine, numbers: numbers(result), bytes: bytes?.(result) };
      })
      .catch((error: unknown) => {
        outcome = { error };
        const standing = standingAfter(error, retry);
        words = { what, standing, bytes: describeError(error) };
      })
      .finally(() => (this.#working = false));
    for (;;) {
      await settledWithin(done, this.#heartbeat);
      const own: Words = words ?? { what, standing: STANDING.working };
      const heard = await this.#inTurn(() => meet(this.#group, own)).catch(async (error: unknown) => {
        await done;
        throw ownErrorOf(outcome) ?? error;
      });
      if (heard.standings.includes(STANDING.working)) continue;
      const stopped = own.standing === STANDING.stopped;
      if (outcome !== undefined && 'error' in outcome && !stopped) throw outcome.error;
      throwOfOthers(heard);
      if (outcome !== undefined && 'error' in outcome) throw outcome.error;
      return { result: (outcome as { result: T }).result, all: heard.numbers, bytes: heard.bytes };
    }
  }

  /** For exchanges of tensors; for the package's own modules. */
  exchange<T>(run: (group: GroupHandle) => Promise<T>): Promise<T> {
    return this.#inTurn(() => guardedAsync(() => run(this.#group)));
  }

  /** The native end; for the package's own modules. */
  get handle(): GroupHandle {
    return this.#group;
  }

  /**
   * Tells the others why this rank ends, for the message of their own error. Call it where your program gives up, then
   * {@link Ranks.close}.
   */
  fail(error: unknown): void {
    this.#failure ??= error ?? new GradCacheError('DISTRIBUTED', 'it gave up');
    guarded(() => {
      this.#group.fail(reasonOf(error));
    });
  }

  /** Leaves the others, once all are about to: those that are not are told so. Safe to call after any error. */
  async close(): Promise<void> {
    const standing = this.#failure === undefined ? STANDING.fine : STANDING.failed;
    const bytes = this.#failure === undefined ? undefined : describeError(this.#failure);
    await this.#inTurn(() => meet(this.#group, { what: 'close()', standing, bytes })).catch(() => undefined);
    await guardedAsync(() => this.#group.close());
  }

  async #meet(words: Words): Promise<Heard> {
    this.#requireFree();
    const heard = await this.#inTurn(() => meet(this.#group, words));
    throwOfOthers(heard);
    return heard;
  }

  #requireFree(): void {
    if (!this.#working) return;
    throw new GradCacheError(
      'INPUT',
      'the ranks are used while agree() or a step of this rank runs: the work of agree() must not use them, and a call must ' +
        'end before the next begins',
    );
  }

  #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(run, run);
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}

/** @throws GradCacheError `INPUT` unless they are ranks, or null or undefined for none */
export function requireRanks(name: string, ranks: unknown): asserts ranks is Ranks | null | undefined {
  if (ranks === undefined || ranks === null || ranks instanceof Ranks) return;
  throw refused(name, isPlainObject(ranks) ? 'an object' : ranks, 'what Ranks.join() gave');
}

/** @throws OtherRank for the first of the ranks that failed, else for one where memory ran out */
function throwOfOthers({ standings, bytes }: Heard): void {
  const failed = standings.indexOf(STANDING.failed);
  const full = standings.indexOf(STANDING.full);
  const rank = failed >= 0 ? failed : full >= 0 ? full : standings.indexOf(STANDING.stopped);
  if (rank >= 0) throw new OtherRank(errorOfRank(rank, bytes[rank]!), failed < 0 && full >= 0);
}

function standingAfter(error: unknown, retry: (error: unknown) => boolean): Standing {
  if (isStopped(error)) return STANDING.stopped;
  return retry(error) ? STANDING.full : STANDING.failed;
}

function ownErrorOf(outcome: { result: unknown } | { error: unknown } | undefined): unknown {
  return outcome !== undefined && 'error' in outcome ? outcome.error : undefined;
}

async function settled<T>(work: () => T | Promise<T>): Promise<{ result: T } | { error: unknown }> {
  try {
    return { result: await work() };
  } catch (error) {
    return { error };
  }
}

async function settledWithin(work: Promise<unknown>, milliseconds: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const patience = new Promise<void>((resolve) => (timer = setTimeout(resolve, milliseconds)));
  await Promise.race([work, patience]).finally(() => {
    clearTimeout(timer);
  });
}

function ownDevice(device: string, { localRank, rank }: Place): string {
  if (device !== 'cuda') return device;
  const gpus = devices().filter((each) => each.startsWith('cuda'));
  if (gpus.length === 1) return 'cuda:0';
  const own = `cuda:${localRank}`;
  if (gpus.length === 0 || gpus.includes(own)) return own; // without any, the first use tells why
  throw new GradCacheError(
    'DEVICE',
    `rank ${rank} is number ${localRank} on its machine, and that has ${gpus.length} GPUs: start as many ranks as GPUs`,
  );
}
