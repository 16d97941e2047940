import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { reasonOf } from '../options/realms.js';
import { refuse, refusalOf, codeOf, type Refusal } from './refusal.js';
import { readBody } from './request-body.js';
import type { Answer, Route } from './route.js';
import type { FilledOptions } from './serve-options.js';
import { ServerMetrics } from './server-metrics.js';

/** Milliseconds that a connection stays open without a request: longer than load balancers wait, which use it again. */
const IDLE = 65_000;

/**
 * Milliseconds that a client may stand still while it sends a request or takes in an answer. Node's own limits end with
 * `close`, so that such a client would keep the server from ending.
 */
const STALLED = 30_000;

/** Answers requests by their path. What a route does is its own. */
export class RouteServer {
  readonly metrics = new ServerMetrics();
  /** Settled when the server has ended. */
  readonly closed: Promise<void>;

  readonly #server: Server;
  readonly #routes: ReadonlyMap<string, Route>;
  readonly #settings: FilledOptions;
  readonly #stalled: number;
  #open = 0;
  #closing = false;

  constructor(
    settings: FilledOptions,
    routes: (server: RouteServer) => readonly Route[],
    stalled: number = STALLED,
  ) {
    this.#settings = settings;
    this.#stalled = stalled;
    this.#routes = new Map(routes(this).map((route) => [route.path, route]));
    this.#server = createServer({ keepAliveTimeout: IDLE }, (request, response) => {
      void this.#answer(request, response);
    });
    this.#server.timeout = stalled;
    this.closed = new Promise((resolve) => this.#server.once('close', resolve));
  }

  /** Requests that have no answer yet. */
  get openRequests(): number {
    return this.#open;
  }

  /** @throws what the system says of an address that cannot be listened at */
  listen(port: number, host: string): Promise<AddressInfo> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, host, () => {
        this.#server.removeListener('error', reject);
        resolve(this.#server.address() as AddressInfo);
      });
    });
  }

  /** Takes no more requests. The server has ended when those under way are answered, or their clients are gone or stand still. */
  close(): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#server.close(); // with it the connections that wait for a request
  }

  /** @throws RefusedRequest 503 where the server is about to end */
  requireOpen(): void {
    if (this.#closing)
      refuse({
        status: 503,
        code: 'closing',
        message: 'the server is about to end.',
        headers: { 'Retry-After': '1' },
      });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const started = performance.now();
    const [path = '/'] = (request.url ?? '/').split('?');
    const route = this.#routes.get(path);
    const gone = new AbortController();
    response.once('close', () => {
      if (!response.writableFinished) gone.abort();
    });
    this.#open++;
    let status = 0; // the client went away
    try {
      const answer = await this.#answerOf(request, route, gone.signal);
      status = answer.status ?? 200;
      this.#send(response, status, route!.type, answer.text);
    } catch (error) {
      if (!gone.signal.aborted) {
        const refusal = refusalOf(error);
        status = refusal.status;
        this.#count(error, refusal);
        this.#refuse(response, refusal, route);
      }
    } finally {
      this.#open--;
      // A path that anybody can make up is no label.
      const label = route === undefined ? 'other' : path;
      this.metrics.requests.add(1, [label, status === 0 ? 'gone' : String(status)]);
      this.metrics.seconds.add((performance.now() - started) / 1000, [label]);
    }
  }

  async #answerOf(request: IncomingMessage, route: Route | undefined, signal: AbortSignal): Promise<Answer> {
    const { keys, maxBody, maxRequests } = this.#settings;
    if (route?.open !== true && !keys.admits(request.headers.authorization))
      refuse({
        status: 401,
        code: 'unauthorized',
        message: 'an API key is needed: Authorization: Bearer KEY.',
        headers: { 'WWW-Authenticate': 'Bearer' },
      });
    if (route === undefined)
      refuse({
        status: 404,
        code: 'not_found',
        message: `there is nothing at this path; there are ${[...this.#routes.keys()].join(', ')}.`,
      });
    const isRead = route.method === 'GET';
    const { method } = request;
    if (method !== route.method && !(isRead && method === 'HEAD'))
      refuse({
        status: 405,
        code: 'method_not_allowed',
        message: `${route.path} takes ${route.method}, not ${method}.`,
        headers: { Allow: isRead ? 'GET, HEAD' : 'POST' },
      });
    if (isRead) return route.handle({}, signal);
    this.requireOpen();
    if (this.#open > maxRequests)
      refuse({
        status: 429,
        code: 'overloaded',
        message: `${maxRequests} requests are under way, the most that this server takes at a time: try again later.`,
        headers: { 'Retry-After': '1' },
      });
    const body = await readBody(request, route, maxBody);
    request.setTimeout(0); // now the client waits
    return route.handle(body, signal);
  }

  #send(
    response: ServerResponse,
    status: number,
    type: string,
    text: string,
    headers: Readonly<Record<string, string>> = {},
  ): void {
    response.setTimeout(this.#stalled);
    const closing = this.#closing ? { Connection: 'close' } : {};
    response.writeHead(status, {
      'Content-Type': type,
      'Content-Length': Buffer.byteLength(text),
      ...closing,
      ...headers,
    });
    response.end(text);
  }

  #refuse(response: ServerResponse, refusal: Refusal, route: Route | undefined): void {
    const { status, code, message, property, headers } = refusal;
    const type =
      status >= 500 ? 'server_error' : status === 429 ? 'rate_limit_error' : 'invalid_request_error';
    const body =
      route?.errors === 'openai'
        ? { error: { message, type, ...(property !== undefined && { param: property }), code } }
        : { error: message, error_type: code };
    this.#send(response, status, 'application/json', JSON.stringify(body), headers);
  }

  #count(error: unknown, { status }: Refusal): void {
    if (status < 500 || this.#closing) return;
    this.metrics.failures.add(1, [codeOf(error)]);
    try {
      this.#settings.onError?.(error);
    } catch (thrown) {
      process.emitWarning(`onError of serve failed: ${reasonOf(thrown)}`);
    }
  }
}
