import { setTimeout } from 'node:timers/promises';

/** Requests follow each other no faster: what comes meanwhile goes with the next one. */
const PAUSE = 1000;

/**
 * Sends what a run tells while it trains on: in order, and much at a time. A service that cannot be reached does not end the run.
 */
export class Outbox<Item> {
  readonly #send: (items: readonly Item[]) => Promise<void>;
  readonly #most: number;
  readonly #closing = new AbortController();
  #waiting: Item[] = [];
  #sending: Promise<void> | null = null;
  #lost = 0;
  #reason: unknown;

  /** @param send sends items, at most `most` of them */
  constructor(most: number, send: (items: readonly Item[]) => Promise<void>) {
    this.#most = most;
    this.#send = send;
  }

  /** Puts items behind those that wait. Returns at once. */
  add(items: readonly Item[]): void {
    if (items.length === 0) return; // there is nothing to begin to send
    this.#waiting.push(...items);
    this.#sending ??= this.#run();
  }

  /** Resolves when all is sent. Says what could not be. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#sending;
    if (this.#lost > 0) console.error(`${this.#lost} values could not be sent: ${String(this.#reason)}`);
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      const items = this.#waiting.splice(0, this.#most);
      try {
        await this.#send(items);
      } catch (error) {
        this.#lost += items.length;
        this.#reason = error;
      }
      const { signal } = this.#closing;
      if (!signal.aborted) await setTimeout(PAUSE, undefined, { signal }).catch(() => undefined);
    }
    this.#sending = null;
  }
}
