import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileError } from '../files/file-error.js';
import { refused } from '../options/option-values.js';

/** A token, and where it was found. */
export interface Token {
  readonly value: string;
  /** The variable or the file, for messages. */
  readonly source: string;
}

/** What the environment says of the hub. The variables are those of Python's huggingface_hub. */
export interface HubSettings {
  /** Without a slash at its end. */
  readonly endpoint: string;
  /** The folder of the cache. */
  readonly cache: string;
  readonly token: Token | null;
  /** Where a token can be put. */
  readonly tokenFile: string;
  /** No request is made. */
  readonly offline: boolean;
  /** Milliseconds without a byte after which a try has failed. */
  readonly patience: number;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Reads the environment: HF_ENDPOINT, HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_OFFLINE,
 * TRANSFORMERS_OFFLINE, HF_HUB_DISABLE_IMPLICIT_TOKEN, HF_HUB_DOWNLOAD_TIMEOUT, and the older HUGGINGFACE_HUB_CACHE and
 * HUGGING_FACE_HUB_TOKEN.
 *
 * @throws GradCacheError `INPUT` for a variable that makes no sense, and a token file that cannot be read
 */
export function hubSettings(environment: Environment = process.env): HubSettings {
  const given = (name: string): string | undefined => environment[name] || undefined;
  const tokenFile = pathIn(environment, 'HF_TOKEN_PATH') ?? join(hubHome(environment), 'token');
  const implicit = !isOn(given('HF_HUB_DISABLE_IMPLICIT_TOKEN'));
  return {
    endpoint: endpointOf(given('HF_ENDPOINT')),
    cache: hubCache(environment),
    token: implicit ? (tokenIn(given) ?? tokenOf(tokenFile)) : null,
    tokenFile,
    offline: isOn(given('HF_HUB_OFFLINE') ?? given('TRANSFORMERS_OFFLINE')),
    patience: secondsOf('HF_HUB_DOWNLOAD_TIMEOUT', given('HF_HUB_DOWNLOAD_TIMEOUT')) * 1000,
  };
}

/** The folder of the cache, which a program may want to know that never asks the hub: nothing else is looked at. */
export function hubCache(environment: Environment = process.env): string {
  return (
    pathIn(environment, 'HF_HUB_CACHE') ??
    pathIn(environment, 'HUGGINGFACE_HUB_CACHE') ??
    join(hubHome(environment), 'hub')
  );
}

function hubHome(environment: Environment): string {
  const caches = pathIn(environment, 'XDG_CACHE_HOME') ?? join(home(environment), '.cache');
  return pathIn(environment, 'HF_HOME') ?? join(caches, 'huggingface');
}

function pathIn(environment: Environment, name: string): string | undefined {
  const value = environment[name];
  return value ? expanded(value, environment) : undefined;
}

const DEFAULT_ENDPOINT = 'https://huggingface.co';
const DEFAULT_PATIENCE_SECONDS = 30;

function endpointOf(given: string | undefined): string {
  if (given === undefined) return DEFAULT_ENDPOINT;
  if (!URL.canParse(given) || !/^https?:$/.test(new URL(given).protocol))
    throw refused('HF_ENDPOINT', given, 'an address such as https://huggingface.co');
  return given.replace(/\/+$/, '');
}

function secondsOf(name: string, given: string | undefined): number {
  const seconds = given === undefined ? DEFAULT_PATIENCE_SECONDS : Number(given);
  if (!(seconds > 0)) throw refused(name, given, 'a number of seconds above 0');
  return seconds;
}

function isOn(value: string | undefined): boolean {
  return value !== undefined && ['1', 'ON', 'YES', 'TRUE'].includes(value.toUpperCase());
}

function tokenIn(given: (name: string) => string | undefined): Token | null {
  for (const source of ['HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN']) {
    const value = given(source);
    if (value !== undefined) return checked(value, source);
  }
  return null;
}

function tokenOf(file: string): Token | null {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw fileError('INPUT', file, 'read', error);
  }
  return checked(text, file);
}

/** Null for an empty one. @throws GradCacheError `INPUT` for one that no request can carry; it is a secret, and not shown */
function checked(text: string, source: string): Token | null {
  const value = text.trim();
  if (value === '') return null;
  if (!/^[\x21-\x7e]+$/.test(value))
    throw refused(`the token in ${source}`, `${value.length} characters`, 'one line of letters and digits');
  return { value, source };
}

/** With `~` and `$VARIABLE` replaced, as Python does. */
function expanded(path: string, environment: Environment): string {
  const named = path.replaceAll(/\$(?:(\w+)|\{(\w+)\})/g, (all, plain: string, braced: string) => {
    return environment[plain ?? braced] ?? all;
  });
  return named.replace(/^~(?=\/|$)/, home(environment));
}

function home(environment: Environment): string {
  return environment['HOME'] || homedir();
}
