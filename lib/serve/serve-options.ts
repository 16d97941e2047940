import { CrossEncoder } from '../encoders/cross-encoder.js';
import { overlapOf, type Windows } from '../encoders/long-texts.js';
import type { TextEncoder } from '../encoders/text-encoder.js';
import { checkKnown } from '../options/known-options.js';
import {
  refused,
  requireBoolean,
  requireCount,
  requireFunction,
  requireNumber,
  requireSignal,
  requireString,
} from '../options/option-values.js';
import { ApiKeys, keysIn } from './api-key.js';

/** How {@link serve} serves a model. */
export interface ServeOptions {
  /** The address to listen at. Default: `'127.0.0.1'`, which other machines cannot reach; `'0.0.0.0'` is all addresses. */
  readonly host?: string | undefined;
  /** 0: any free port. Default: 8080. */
  readonly port?: number | undefined;
  /** What clients call the model. Default: `'model'`. */
  readonly name?: string | undefined;
  /** A key that clients send as `Authorization: Bearer KEY`, or several that are good. Default: none is asked for. */
  readonly apiKey?: string | readonly string[] | undefined;
  /** Whether a text that is too long is cut where the request does not say. Default: false, it is refused. */
  readonly truncate?: boolean | undefined;
  /**
   * Of a cross-encoder: documents that are too long are read in windows, each beside the whole query, and have the greatest score of
   * them, where a request does not ask for them to be cut. Default: false.
   */
  readonly windows?: Windows | undefined;
  /**
   * The most tokens that are encoded together; a longer text is encoded alone. More give more throughput, and a short text waits
   * longer for the batch before it. Default: 512 on the CPU, 16,384 on a GPU.
   */
  readonly batchTokens?: number | undefined;
  /** The most bytes of a request's body. Default: 4 MiB. */
  readonly maxBody?: number | undefined;
  /** The most texts of a request. Default: 2,048. */
  readonly maxTexts?: number | undefined;
  /** The most texts that may wait; a request with more than there is room for is refused (429). Default: 16,384. */
  readonly maxQueue?: number | undefined;
  /** The most requests at a time; more are refused (429). Default: 256. */
  readonly maxRequests?: number | undefined;
  /** Ends the server when it fires, as {@link ModelServer.close} does. */
  readonly signal?: AbortSignal | undefined;
  /** Told why a request failed in the server (status 500 or 503). The message can hold a text of the request. */
  readonly onError?: ((error: unknown) => void) | undefined;
}

/** {@link ServeOptions} with everything in it. */
export interface FilledOptions extends Required<
  Omit<ServeOptions, 'windows' | 'apiKey' | 'signal' | 'onError' | 'batchTokens'>
> {
  readonly batchTokens: number;
  /** Tokens that windows share; undefined: there are none. */
  readonly overlap: number | undefined;
  readonly keys: ApiKeys;
  readonly signal: AbortSignal | undefined;
  readonly onError: ((error: unknown) => void) | undefined;
}

const KNOWN = [
  'host',
  'port',
  'name',
  'apiKey',
  'truncate',
  'windows',
  'batchTokens',
  'maxBody',
  'maxTexts',
  'maxQueue',
  'maxRequests',
  'signal',
  'onError',
];

/** @throws GradCacheError `INPUT` */
export function filled(options: ServeOptions, model: TextEncoder | CrossEncoder): FilledOptions {
  checkKnown('serve', options, KNOWN);
  const { host = '127.0.0.1', port = 8080, name = 'model', truncate = false, signal, onError } = options;
  const { batchTokens = model.device === 'cpu' ? 512 : 16_384, maxBody = 4 * 2 ** 20 } = options;
  const { maxTexts = 2048, maxRequests = 256 } = options;
  requireString('host', host);
  if (host === '') throw refused('host', host, 'an address');
  requireNumber('port', port, { from: 0, to: 65_535, whole: true });
  requireString('name', name);
  if (name === '') throw refused('name', name, 'a string that is not empty');
  requireBoolean('truncate', truncate);
  const overlap = overlapOf(options.windows);
  if (overlap !== undefined && !(model instanceof CrossEncoder))
    throw refused(
      'windows',
      options.windows,
      'false (or no --windows) for a model that gives texts one dense representation,',
    );
  if (overlap !== undefined && truncate)
    throw refused('truncate', truncate, 'false beside windows, by which nothing is cut,');
  for (const [option, value] of Object.entries({ batchTokens, maxBody, maxTexts, maxRequests }))
    requireCount(option, value, 1);
  const { maxQueue = Math.max(16_384, maxTexts) } = options;
  requireCount('maxQueue', maxQueue, 1);
  if (maxQueue < maxTexts)
    throw refused('maxQueue', maxQueue, `${maxTexts} or more, the most texts of a request (maxTexts),`);
  requireSignal('signal', signal);
  if (onError !== undefined) requireFunction('onError', onError);
  const keys = new ApiKeys(keysIn('apiKey', options.apiKey));
  return {
    host,
    port,
    name,
    truncate,
    overlap,
    batchTokens,
    maxBody,
    maxTexts,
    maxQueue,
    maxRequests,
    keys,
    signal,
    onError,
  };
}
