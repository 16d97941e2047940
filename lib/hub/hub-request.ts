import { GradCacheError } from '../errors.js';
import { pause, throwIfAborted } from '../options/abort.js';
import { reasonOf as messageOf } from '../options/realms.js';
import { refusedBy, unreachable } from './hub-refusal.js';
import type { HubSettings } from './hub-settings.js';

/** Tries of a request in which nothing was gained, before it is given up. */
const TRIES = 5;
/** The first wait between two tries, in milliseconds; each further one is twice as long. */
const FIRST_WAIT = 500;
/** The longest wait that the hub is granted, in milliseconds. */
const LONGEST_WAIT = 300_000;

/** The hub, as one piece of work sees it. */
export interface Hub {
  readonly settings: HubSettings;
  readonly signal: AbortSignal | undefined;
  /** Told why the work waits. */
  readonly onWait?: ((message: string) => void) | undefined;
}

/** Something that failed, and may succeed if it is tried again. */
export class Passing extends Error {
  /**
   * @param brief what failed, in one clause
   * @param final the error that is thrown when it has been tried often enough
   * @param wait milliseconds that the hub asks to wait
   */
  constructor(
    readonly brief: string,
    readonly final: (tries: number) => GradCacheError,
    readonly wait?: number,
  ) {
    super(brief);
  }
}

/**
 * Does something until it succeeds, fails for good, or has failed five times in a row without having gained anything.
 *
 * @param work one try; `gained` is to be called where it has brought something that the next one need not
 * @throws GradCacheError `HUB`, `ABORTED`
 */
export async function persistently<T>(hub: Hub, work: (gained: () => void) => Promise<T>): Promise<T> {
  let inVain = 0;
  for (let tries = 1; ; tries++) {
    throwIfAborted(hub.signal);
    let hasGained = false;
    try {
      return await work(() => (hasGained = true));
    } catch (error) {
      throwIfAborted(hub.signal);
      if (!(error instanceof Passing)) throw error;
      inVain = hasGained ? 0 : inVain + 1;
      const { wait = inVain === 0 ? 0 : FIRST_WAIT * 2 ** (inVain - 1) } = error;
      if (inVain === TRIES || wait > LONGEST_WAIT) throw error.final(tries);
      if (wait >= 1000) hub.onWait?.(`${error.brief}; next try in ${Math.ceil(wait / 1000)} s`);
      await pause(wait, hub.signal);
    }
  }
}

/** A try of a request that ends when nothing comes for long. */
export interface Try {
  readonly response: Response;
  /** To be called for each piece that comes. */
  readonly alive: () => void;
  /** To be called at the end. */
  readonly close: () => void;
  /** Why the answer could not be read to its end. */
  readonly reasonOf: (error: unknown) => string;
  /** What such an error means. */
  readonly failed: (error: unknown) => Passing;
}

/**
 * Sends a request once.
 *
 * @param what is asked for, for messages: `the files of owner/name at main`
 * @param good further statuses that are an answer
 * @throws Passing for what may be tried again; GradCacheError `HUB` for a refusal
 */
export async function tryRequest(
  hub: Hub,
  what: string,
  url: string,
  options: { readonly headers?: Readonly<Record<string, string>>; readonly good?: readonly number[] } = {},
): Promise<Try> {
  const { settings, signal } = hub;
  const controller = new AbortController();
  let isSilent = false;
  let timer: NodeJS.Timeout | undefined;
  const alive = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      isSilent = true;
      controller.abort();
    }, settings.patience);
  };
  // Not AbortSignal.any, which takes no signal of another realm.
  const stop = (): void => controller.abort();
  signal?.addEventListener('abort', stop, { once: true });
  const close = (): void => {
    clearTimeout(timer);
    signal?.removeEventListener('abort', stop);
  };
  const reasonOf = (error: unknown): string =>
    isSilent ? `nothing came for ${settings.patience / 1000} s` : causeOf(error);
  const failed = (error: unknown): Passing => {
    const reason = reasonOf(error);
    return new Passing(`${what}: ${reason}`, (tries) => unreachable(settings, { what, url, tries, reason }));
  };
  alive();
  let response: Response;
  try {
    response = await fetch(url, {
      headers: { 'user-agent': 'gradcache', ...authorization(settings), ...options.headers },
      signal: controller.signal,
    });
  } catch (error) {
    close();
    throw failed(error);
  }
  if (response.ok || options.good?.includes(response.status) === true)
    return { response, alive, close, reasonOf, failed };
  const text = await response.text().catch(() => '');
  close();
  const final = (tries: number): GradCacheError => refusedBy(settings, { what, url, tries, response, text });
  const { status, statusText, headers } = response;
  if (passingStatus(status))
    throw new Passing(`${what}: ${status} ${statusText}`, final, retryAfter(headers.get('retry-after')));
  throw final(1);
}

/**
 * Asks for JSON, as often as it takes.
 *
 * @param good further statuses that are an answer: its value is then null
 * @throws GradCacheError `HUB`, `ABORTED`
 */
export async function requestJson(
  hub: Hub,
  what: string,
  url: string,
  good: readonly number[] = [],
): Promise<{ value: unknown; headers: Headers }> {
  return persistently(hub, async () => {
    const { response, close, failed } = await tryRequest(hub, what, url, { good });
    try {
      const value = response.ok ? parsed(await response.text(), what, url) : null;
      return { value, headers: response.headers };
    } catch (error) {
      throw error instanceof GradCacheError ? error : failed(error);
    } finally {
      close();
    }
  });
}

function parsed(text: string, what: string, url: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw unexpected(what, url, `it is no JSON: ${messageOf(error)}`);
  }
}

/** The error for an answer that the hub does not give. */
export function unexpected(what: string, url: string, problem: string): GradCacheError {
  return new GradCacheError(
    'HUB',
    `${what} was asked of ${url}, and the answer is not that of a Hugging Face hub: ${problem}. Check HF_ENDPOINT, and ` +
      'whether a proxy answers in its place.',
  );
}

/** The token goes to the hub alone: a redirect to another host leaves it out. */
function authorization({ token }: HubSettings): Record<string, string> {
  return token === null ? {} : { authorization: `Bearer ${token.value}` };
}

/** Whether the same request may succeed later. */
export function passingStatus(status: number): boolean {
  return [408, 429, 500, 502, 503, 504].includes(status);
}

/** What a hub asks to wait, as seconds or as a date: in milliseconds from now. */
export function retryAfter(header: string | null): number | undefined {
  if (header === null) return undefined;
  const pause = /^\d+$/.test(header.trim()) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isNaN(pause) ? undefined : Math.max(0, pause);
}

/** fetch says no more than that it failed; its cause says why. */
export function causeOf(error: unknown): string {
  const { cause } = (error ?? {}) as { cause?: unknown };
  if (cause === undefined || cause === null) return messageOf(error);
  const { code } = cause as { code?: unknown };
  const reason = messageOf(cause);
  return typeof code === 'string' && !reason.includes(code) ? `${code} ${reason}`.trim() : reason;
}
