/*
 * What is thrown where the hub cannot be reached or refuses: what was asked of whom, how often, and the way out.
 */
import { GradCacheError } from '../errors.js';
import { show } from '../options/option-values.js';
import { plural } from '../options/plural.js';
import type { HubSettings } from './hub-settings.js';

/** A request that was given up. */
interface Asked {
  /** What was asked for. */
  readonly what: string;
  readonly url: string;
  readonly tries: number;
}

/** The error for a hub that does not answer. */
export function unreachable(
  settings: HubSettings,
  { what, url, tries, reason }: Asked & { readonly reason: string },
): GradCacheError {
  return new GradCacheError(
    'HUB',
    `${askedFor({ what, url, tries })}: ${reason}. Check the connection and HF_ENDPOINT (${settings.endpoint})` +
      `${proxyHint()}. HF_HUB_OFFLINE=1 uses what is in the cache.`,
  );
}

/** Node.js uses a proxy only if it is told to. */
function proxyHint(): string {
  const { NODE_USE_ENV_PROXY, HTTPS_PROXY, https_proxy } = process.env;
  const proxy = HTTPS_PROXY || https_proxy;
  return proxy !== undefined && NODE_USE_ENV_PROXY !== '1'
    ? '; HTTPS_PROXY is set, which Node.js 24 uses with NODE_USE_ENV_PROXY=1, and older ones do not'
    : '';
}

/** The error for an answer that is a refusal. */
export function refusedBy(
  settings: HubSettings,
  { response, text, ...asked }: Asked & { readonly response: Response; readonly text: string },
): GradCacheError {
  const { status, statusText, headers } = response;
  const stated = headers.get('x-error-message') ?? messageIn(text);
  const said = stated === undefined ? '' : ` (${show(stated)})`;
  const way = wayOut(settings, status, headers.get('x-error-code'));
  return new GradCacheError('HUB', `${askedFor(asked)}: ${status} ${statusText}${said}. ${way}`);
}

function askedFor({ what, url, tries }: Asked): string {
  return `${what} was asked of ${url}${tries === 1 ? '' : `, ${plural(tries, 'time')}`}`;
}

function messageIn(text: string): string | undefined {
  try {
    const { error } = JSON.parse(text) as { error?: unknown };
    return typeof error === 'string' ? error : undefined;
  } catch {
    return undefined;
  }
}

/** @param code what the hub calls its reason: a status alone does not tell a missing repository from a hidden one */
function wayOut({ token, tokenFile }: HubSettings, status: number, code: string | null): string {
  const login = `Set HF_TOKEN, or put a token into ${tokenFile} (\`hf auth login\` does)`;
  if (code === 'RevisionNotFound') return 'There is no such revision: check its name.';
  if (code === 'EntryNotFound') return 'There is no such file at this revision.';
  if (code === 'GatedRepo' || status === 403)
    return token === null
      ? `Its owner lets in those who accept its conditions: accept them on its page. ${login}.`
      : `The token of ${token.source} does not give access: accept the conditions on its page, or take a token with the right.`;
  if (status === 401 || status === 404 || code === 'RepoNotFound')
    return token === null
      ? `Check the name: for one that does not exist the hub answers the same as for a private one. ${login} if it is private.`
      : `Check the name, and whether the token of ${token.source} is valid and may read it.`;
  if (status === 429)
    return token === null
      ? `The hub asks for fewer requests: try later. ${login}, which allows more.`
      : 'The hub asks for fewer requests: try later.';
  return status >= 500 ? 'The hub has a fault: try later.' : 'The hub refuses it.';
}
