import type { AddressInfo } from 'node:net';
import { CrossEncoder } from '../encoders/cross-encoder.js';
import { TextEncoder } from '../encoders/text-encoder.js';
import { GradCacheError } from '../errors.js';
import { throwIfAborted } from '../options/abort.js';
import { refused } from '../options/option-values.js';
import { reasonOf } from '../options/realms.js';
import { Batcher } from './batcher.js';
import { openApi } from './open-api.js';
import { rerankRoute } from './rerank-route.js';
import type { Route } from './route.js';
import { RouteServer } from './route-server.js';
import { filled, type FilledOptions, type ServeOptions } from './serve-options.js';
import type { ServerMetrics } from './server-metrics.js';
import type { Service } from './service.js';
import { textRoutes } from './text-routes.js';

export type { ServeOptions } from './serve-options.js';

/** A server that {@link serve} started. */
export interface ModelServer {
  /** Where it is: `http://127.0.0.1:8080`. */
  readonly url: string;
  /**
   * Ends it: no request is taken any more, and those that have come are answered first. The model stays, for the caller to
   * dispose of.
   */
  close(): Promise<void>;
  /** Settled when it has ended. */
  readonly closed: Promise<void>;
  /** Closes it at the end of an `await using` block. */
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Serves a model over HTTP. Texts of all requests are encoded together, in batches of so many tokens; requests take turns
 * by tokens, so that long ones do not hold up short ones.
 *
 * | path | |
 * |---|---|
 * | `POST /v1/embeddings`, `GET /v1/models` | OpenAI's: representations of length one |
 * | `POST /embed` | that of text-embeddings-inference |
 * | `POST /rerank` | the same, for a {@link CrossEncoder}, which has no other of these |
 * | `GET /health` | 200 while it takes requests; needs no key |
 * | `GET /metrics` | counts for Prometheus |
 * | `GET /openapi.json` | the OpenAPI document |
 *
 * ```ts
 * const server = await serve(await TextEncoder.load('./fine-tuned'), { port: 8080, name: 'fine-tuned' });
 * process.once('SIGTERM', () => void server.close());
 * ```
 *
 * @param model one that gives a text one dense representation, or a cross-encoder with one label
 * @throws GradCacheError `INPUT` for options that make no sense, another model, and an address that cannot be listened at;
 * `ABORTED`
 */
export async function serve(
  model: TextEncoder | CrossEncoder,
  options: ServeOptions = {},
): Promise<ModelServer> {
  requireServable(model);
  const settings = filled(options, model);
  // An overlap that no window has room for is refused now, not with every request.
  if (model instanceof CrossEncoder && settings.overlap !== undefined)
    await model.tokenizeWindows([['', '']], { overlap: settings.overlap });
  throwIfAborted(settings.signal);
  const server = new RouteServer(settings, (own) => routesOf(model, settings, own));
  const { address, family, port } = await listening(server, settings);
  const closed = server.closed;
  const close = (): Promise<void> => {
    server.close();
    return closed;
  };
  const stop = (): void => void close();
  settings.signal?.addEventListener('abort', stop, { once: true });
  void closed.then(() => settings.signal?.removeEventListener('abort', stop));
  const url = `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
  return { url, close, closed, [Symbol.asyncDispose]: close };
}

function requireServable(model: unknown): void {
  if (model instanceof CrossEncoder) {
    if (model.labels !== 1) throw refused('the number of labels of the model', model.labels, '1');
    return;
  }
  if (!(model instanceof TextEncoder)) throw refused('the model', model, 'a TextEncoder or a CrossEncoder');
  const kind = model.perToken ? 'each of its tokens a representation' : model.sparse ? 'sparse ones' : null;
  if (kind !== null)
    throw new GradCacheError(
      'INPUT',
      `the model gives a text ${kind}; one that gives it one dense representation is needed.`,
    );
}

function routesOf(
  model: TextEncoder | CrossEncoder,
  { name, truncate, overlap, maxTexts, maxQueue, batchTokens, keys }: FilledOptions,
  server: RouteServer,
): Route[] {
  const metrics = server.metrics;
  const batcher = new Batcher(model, batchTokens, {
    onBatch({ tokens, seconds }) {
      metrics.batchTokens.add(tokens);
      metrics.batchSeconds.add(seconds);
    },
    onDropped: (texts) => metrics.dropped.add(texts),
  });
  const started = Math.floor(Date.now() / 1000);
  const service: Service = { batcher, metrics, name, truncate, overlap, maxTexts, maxQueue, started };
  const routes: Route[] = [
    ...(model instanceof CrossEncoder ? [rerankRoute(model, service)] : textRoutes(model, service)),
    health(server),
    metricsRoute(metrics, batcher, server),
  ];
  const document: Route = {
    method: 'GET',
    path: '/openapi.json',
    operation: 'getOpenApi',
    summary: 'This document.',
    type: 'application/json',
    answer: { type: 'object' },
    errors: 'tei',
    handle: async () => ({ text }),
  };
  routes.push(document);
  const text = JSON.stringify(openApi(routes, keys.some));
  return routes;
}

function health(server: RouteServer): Route {
  return {
    method: 'GET',
    path: '/health',
    operation: 'getHealth',
    summary: 'Whether requests are taken.',
    open: true,
    type: 'application/json',
    answer: {
      type: 'object',
      required: ['status'],
      properties: { status: { type: 'string', enum: ['ok'] } },
    },
    errors: 'tei',
    handle: async () => {
      server.requireOpen();
      return { text: '{"status":"ok"}' };
    },
  };
}

function metricsRoute(metrics: ServerMetrics, batcher: Batcher, server: RouteServer): Route {
  return {
    method: 'GET',
    path: '/metrics',
    operation: 'getMetrics',
    summary: 'Counts for Prometheus.',
    type: 'text/plain; version=0.0.4',
    errors: 'tei',
    handle: async () => ({ text: metrics.write(batcher, server.openRequests) }),
  };
}

async function listening(server: RouteServer, { host, port }: FilledOptions): Promise<AddressInfo> {
  try {
    return await server.listen(port, host);
  } catch (error) {
    throw new GradCacheError(
      'INPUT',
      `port ${port} of ${host} cannot be listened at: ${reasonOf(error)}. Name another host or port.`,
      { cause: error },
    );
  }
}
