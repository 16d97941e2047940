import { GradCacheError } from '../errors.js';
import type { Chunk, EncodedChunk, ForwardOptions } from '../step/encoder.js';
import type { TokenBatch } from '../tokenizer/tokenizer.js';
import { FairQueue } from './fair-queue.js';
import { joinedTexts } from './joined-texts.js';

/** What encodes: a text encoder or a cross-encoder. */
interface EncodesTokens {
  readonly device: string;
  forwardChunk(chunk: Chunk<TokenBatch>, options: ForwardOptions): Promise<EncodedChunk>;
}

/** A row of numbers that the model gives for a text or a pair of texts. */
export type Representation = Float32Array | Float64Array;

/** What is told of batches, for the metrics. */
export interface BatchWatch {
  /** A batch is done. */
  onBatch(batch: { readonly texts: number; readonly tokens: number; readonly seconds: number }): void;
  /** Texts are not encoded: nobody waits for them. */
  onDropped(texts: number): void;
}

/** A request whose texts are encoded. */
interface Job {
  readonly rows: (Representation | undefined)[];
  missing: number;
  /** Texts that are not in the queue yet. */
  unread: number;
  /** Nobody waits for it any more. */
  over: boolean;
  readonly done: () => void;
  readonly failed: (error: unknown) => void;
}

/** One text of a request, as tokens. */
interface WaitingText {
  readonly job: Job;
  readonly place: number;
  readonly ids: Int32Array;
  readonly types: Int32Array | undefined;
  readonly skipped: number | undefined;
  readonly tokens: number;
  readonly kind: number;
}

/** Texts of a request that are tokenized at a time: those of other requests come in between. */
const PIECE = 32;

/** The share of the newest batch in the speed that is remembered. */
const NEWEST = 0.2;

/** Encodes the texts of all requests together, in batches of so many tokens. */
export class Batcher {
  readonly #encoder: EncodesTokens;
  readonly #batchTokens: number;
  readonly #watch: BatchWatch;
  readonly #queue = new FairQueue<Job, WaitingText>();
  /** Batches that may be under way: a GPU gets the next one before it is done. */
  readonly #most: number;
  #underWay = 0;
  #scheduled = false;
  /** Texts that have come and are not done. */
  #texts = 0;
  /** Of the latest batches; 0 before the first. */
  #tokensPerSecond = 0;

  constructor(encoder: EncodesTokens, batchTokens: number, watch: BatchWatch) {
    this.#encoder = encoder;
    this.#batchTokens = batchTokens;
    this.#watch = watch;
    this.#most = encoder.device === 'cpu' ? 1 : 2;
  }

  /** Texts that have come and are not done. */
  get texts(): number {
    return this.#texts;
  }

  /** Tokens of them that wait. */
  get waitingTokens(): number {
    return this.#queue.tokens;
  }

  /** Seconds until what waits now is done, as far as can be told. */
  get wait(): number {
    return this.#tokensPerSecond === 0 ? 0 : this.#queue.tokens / this.#tokensPerSecond;
  }

  /**
   * What the model gives for texts, in their order.
   *
   * @param tokenize gives the tokens of some of them
   * @throws GradCacheError `ABORTED` when the signal fires: what waits is then out of the queue. `NON_FINITE` where the model gives
   * no number; what `tokenize` and the model throw passes
   */
  async encode(
    count: number,
    tokenize: (begin: number, end: number) => Promise<TokenBatch>,
    signal: AbortSignal,
  ): Promise<Representation[]> {
    this.#texts += count;
    let drop: () => void = () => undefined;
    const rows: (Representation | undefined)[] = new Array<undefined>(count).fill(undefined);
    let job: Job | undefined;
    try {
      await new Promise<void>((done, failed) => {
        const own: Job = { rows, missing: count, unread: count, over: false, done, failed };
        job = own;
        drop = () => failed(new GradCacheError('ABORTED', 'nobody waits for the answer'));
        if (signal.aborted) drop();
        signal.addEventListener('abort', drop, { once: true });
        this.#fill(own, count, tokenize).catch(failed);
      });
      return rows as Representation[];
    } finally {
      signal.removeEventListener('abort', drop);
      this.#texts -= count;
      job!.over = true;
      const dropped = this.#queue.remove(job!) + job!.unread;
      if (dropped > 0) this.#watch.onDropped(dropped);
    }
  }

  async #fill(
    job: Job,
    count: number,
    tokenize: (begin: number, end: number) => Promise<TokenBatch>,
  ): Promise<void> {
    for (let begin = 0; begin < count && !job.over; begin += PIECE) {
      const { ids, offsets, types, skipped } = await tokenize(begin, Math.min(begin + PIECE, count));
      if (job.over) return;
      for (let text = 0; text + 1 < offsets.length; text++) {
        const [from, to] = [offsets[text]!, offsets[text + 1]!];
        this.#queue.add(job, {
          job,
          place: begin + text,
          ids: ids.subarray(from, to),
          types: types?.subarray(from, to),
          skipped,
          tokens: to - from,
          kind: skipped ?? 0,
        });
      }
      job.unread -= offsets.length - 1;
      this.#schedule();
    }
  }

  /** Begins the next batch in a moment, in which requests that came together get into it. */
  #schedule(): void {
    if (this.#scheduled || this.#underWay >= this.#most || this.#queue.length === 0) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      const batch = this.#queue.take(this.#batchTokens);
      if (batch.length === 0) return;
      this.#underWay++;
      void this.#run(batch).finally(() => {
        this.#underWay--;
        this.#schedule();
      });
      this.#schedule();
    });
  }

  async #run(batch: readonly WaitingText[]): Promise<void> {
    const started = performance.now();
    try {
      await this.#encodeTogether(batch);
    } catch (error) {
      const jobs = new Set(batch.map(({ job }) => job));
      if (jobs.size === 1) batch[0]!.job.failed(error);
      // One request's texts may be at fault: the others must not fail with it.
      else
        for (const job of jobs)
          await this.#encodeTogether(batch.filter((text) => text.job === job)).catch(job.failed);
    }
    const seconds = (performance.now() - started) / 1000;
    const tokens = batch.reduce((sum, text) => sum + text.tokens, 0);
    const speed = tokens / Math.max(seconds, 1e-6);
    this.#tokensPerSecond =
      this.#tokensPerSecond === 0 ? speed : NEWEST * speed + (1 - NEWEST) * this.#tokensPerSecond;
    this.#watch.onBatch({ texts: batch.length, tokens, seconds });
  }

  async #encodeTogether(texts: readonly WaitingText[]): Promise<void> {
    const batch = joinedTexts(texts);
    const rows = Int32Array.from(texts, (_, row) => row);
    const { representations } = await this.#encoder.forwardChunk(
      { batch, rows, tokens: batch.ids.length },
      { seed: 0, evaluation: true },
    );
    let values: Representation;
    const width = representations.shape[1]!;
    try {
      values = (await representations.values()) as Representation;
    } finally {
      representations.dispose();
    }
    for (const [row, { job, place }] of texts.entries()) {
      // A copy: a row of a batch would keep all of the batch alive.
      const own = values.slice(row * width, (row + 1) * width);
      if (!own.every(Number.isFinite))
        job.failed(new GradCacheError('NON_FINITE', `the model gives no number for input ${place}`));
      job.rows[place] = own;
      if (--job.missing === 0) job.done();
    }
  }
}
