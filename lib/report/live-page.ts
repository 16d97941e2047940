import { randomBytes, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename, resolve } from 'node:path';
import { GradCacheError } from '../errors.js';
import { reasonOf } from '../options/realms.js';
import { NewsOfRun } from './news.js';
import { pageOf } from './page.js';
import { readPageParts, type PageParts } from './page-parts.js';
import { readRecord } from './read-record.js';
import { RunRecord } from './run-record.js';

/** How often pages get news. */
const SECONDS_BETWEEN_NEWS = 1;
/** A page that has taken in less than was sent by so many bytes is left: it asks again, and gets everything. */
const MOST_WAITING = 4 * 2 ** 20;

/**
 * A page about a run that is under way, on this machine alone. Its address has a token, because other users of the machine,
 * and pages of other sites in the same browser, can reach the port. Nothing is computed while nobody looks.
 */
export class LivePage {
  readonly #token = randomBytes(16).toString('hex');
  readonly #pages = new Set<ServerResponse>();
  #record: RunRecord;
  #news: NewsOfRun;
  /** Events that came while what a resumed run did before was read. */
  #waiting: { readonly event: object; readonly time: number }[] | null = null;
  readonly #server: Server;
  readonly #timer: NodeJS.Timeout;
  #hasNews = false;

  private constructor(
    readonly output: string,
    readonly parts: PageParts,
  ) {
    this.#record = new RunRecord(basename(resolve(output)));
    this.#news = new NewsOfRun(this.#record);
    this.#server = createServer((request, response) => this.#answer(request, response));
    this.#timer = setInterval(() => this.#tell(), 1000 * SECONDS_BETWEEN_NEWS).unref();
  }

  /**
   * Opens the page.
   *
   * @param output the output folder of the run
   * @param port 0: one that is free
   * @throws GradCacheError `INPUT` where the port cannot be had
   */
  static async open(output: string, port: number): Promise<LivePage> {
    const page = new LivePage(output, await readPageParts());
    try {
      await new Promise<void>((listening, fail) => {
        page.#server.once('error', fail).listen({ port, host: '127.0.0.1' }, () => {
          page.#server.off('error', fail);
          listening();
        });
      });
    } catch (error) {
      clearInterval(page.#timer);
      throw new GradCacheError(
        'INPUT',
        `The page cannot be shown on port ${port}: ${reasonOf(error)}. Give another port, or none, which takes a free one.`,
        { cause: error },
      );
    }
    return page;
  }

  get url(): string {
    const { port } = this.#server.address() as AddressInfo;
    return `http://127.0.0.1:${port}/${this.#token}/`;
  }

  /** Takes an event of the run. Pages are told later, all at once. */
  add(event: { readonly type: string; readonly done?: unknown }): void {
    if (event.type === 'chunk' || event.type === 'fetch') return;
    const time = Date.now();
    if (event.type === 'start' && typeof event.done === 'number' && event.done > 0)
      this.#readBefore(event.done);
    if (this.#waiting === null) this.#record.add(event, time);
    else this.#waiting.push({ event, time });
    this.#hasNews = true;
  }

  /** Reads what a run that is resumed has done up to its checkpoint. Where that is gone, the page begins with the checkpoint. */
  #readBefore(step: number): void {
    this.#waiting = [];
    void readRecord(this.output, step)
      .catch(() => this.#record)
      .then((record) => {
        for (const { event, time } of this.#waiting ?? []) record.add(event, time);
        this.#waiting = null;
        this.#record = record;
        this.#news = new NewsOfRun(record);
        this.#hasNews = true;
      });
  }

  /** Tells pages how the run ended, and lets them go. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#hasNews = true;
    this.#tell();
    for (const page of this.#pages) page.end('event: end\ndata:\n\n');
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeIdleConnections();
    // A page that takes nothing in does not hold the run up.
    const impatient = setTimeout(() => this.#server.closeAllConnections(), 500);
    await closed;
    clearTimeout(impatient);
  }

  #tell(): void {
    if (!this.#hasNews || this.#pages.size === 0) return;
    this.#hasNews = false;
    const news = messageOf(this.#news.since());
    for (const page of this.#pages) {
      if (page.writableLength > MOST_WAITING) page.destroy();
      else page.write(news);
    }
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { host = '' } = request.headers;
    const [, token = '', place] = /^\/([^/?]*)\/(events)?$/.exec(request.url ?? '') ?? [];
    // A name that another site has given to this address is not ours.
    const isOurs = /^(127\.0\.0\.1|localhost)(:\d+)?$/.test(host) && isEqual(token, this.#token);
    response.setHeader('cache-control', 'no-store').setHeader('x-content-type-options', 'nosniff');
    if (!isOurs || request.method !== 'GET') {
      response.writeHead(404, { 'content-type': 'text/plain; charset=utf-8' });
      response.end('There is nothing here. The address that gradcache printed has a token in it.\n');
    } else if (place === 'events') this.#follow(response);
    else {
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' });
      response.end(pageOf([this.#record], this.parts, { isLive: true }));
    }
  }

  #follow(response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(messageOf(this.#news.whole()));
    this.#pages.add(response);
    response.on('close', () => this.#pages.delete(response));
  }
}

function messageOf(news: unknown): string {
  return `event: news\ndata: ${JSON.stringify(news)}\n\n`;
}

function isEqual(given: string, token: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(token)];
  return a.length === b.length && timingSafeEqual(a, b);
}
