import type { GradCacheError } from '../errors.js';
import { refusedIn } from '../files/file-fault.js';
import { isJsonObject } from '../files/strict-json.js';
import type { TokenizerFiles } from './tokenizer-files.js';

/** A token that is never split, as the files state it. */
export interface StatedToken {
  readonly content: string;
  readonly single_word: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  /** The default, if no file says: the opposite of `special`. */
  readonly normalized?: boolean | undefined;
  readonly special: boolean;
}

/** The roles that transformers knows, in the order in which it adds their tokens. */
export const ROLES = [
  'bos_token',
  'eos_token',
  'unk_token',
  'sep_token',
  'pad_token',
  'cls_token',
  'mask_token',
] as const;
export type Role = (typeof ROLES)[number];

/** The usual spellings of the token that plays each role. */
export const SPELLINGS: Readonly<Record<Role, readonly string[]>> = {
  unk_token: ['[UNK]', '<unk>'],
  sep_token: ['[SEP]', '</s>'],
  pad_token: ['[PAD]', '<pad>'],
  cls_token: ['[CLS]', '<s>'],
  mask_token: ['[MASK]', '<mask>'],
  bos_token: ['[BOS]', '<s>'],
  eos_token: ['[EOS]', '</s>'],
};

/** What the files say about tokens, with the defaults of a tokenizer class. */
export interface StatedTokens {
  /** The token of each role; null for a role that the files or the class leave empty. */
  readonly roles: ReadonlyMap<Role, StatedToken | null>;
  /** Tokens that are added to the tokenizer, in this order. One that is in the vocabulary keeps its id. */
  readonly added: readonly StatedToken[];
  /** Those of them that have no role and no name, but are listed as extra or additional tokens. */
  readonly extra: readonly StatedToken[];
}

/** What a class adds to the files. */
export interface TokenDefaults {
  readonly roles: Readonly<Partial<Record<Role, string | null>>>;
  /** Mask tokens that are stated by their text alone take the spaces before them. */
  readonly maskStripsLeft?: boolean;
  /**
   * The additional tokens of the class.
   *
   * @param stated those that the files state; undefined: none are stated
   * @param count `extra_ids` of tokenizer_config.json
   */
  readonly additional?: (stated: readonly unknown[] | undefined, count: unknown) => readonly unknown[];
}

/**
 * Gathers the tokens that tokenizer_config.json, special_tokens_map.json, added_tokens.json and tokenizer.json name, as
 * `from_pretrained` of transformers 5 does: `added_tokens_decoder` makes it read neither of the two old files; without
 * it special_tokens_map.json wins over tokenizer_config.json.
 *
 * @param listed the `added_tokens` of tokenizer.json
 * @param present texts of the tokens that the tokenizer has before any is added
 * @param named those that a model of sentencepiece names; transformers takes them in place of `additional_special_tokens`
 * @throws GradCacheError `CHECKPOINT` for a token that is stated in no way that transformers understands.
 */
export function statedTokens(
  files: TokenizerFiles,
  defaults: TokenDefaults,
  listed: readonly unknown[],
  present: ReadonlySet<string>,
  named?: readonly StatedToken[],
): StatedTokens {
  const stated = new Map<string, unknown>(Object.entries(files.config ?? {}));
  if (stated.has('additional_special_tokens') && !isTruthy(stated.get('extra_special_tokens'))) {
    stated.set('extra_special_tokens', stated.get('additional_special_tokens'));
    stated.delete('additional_special_tokens');
  }
  const ownNames = takeNamedTokens(stated);
  const decoder = new Map<number, StatedToken>();
  if (stated.has('added_tokens_decoder')) {
    readDecoder(stated.get('added_tokens_decoder'), decoder);
  } else {
    mergeSpecialTokensMap(files.specialTokensMap ?? {}, stated, ownNames);
    mergeAddedTokens(files.addedTokens ?? {}, stated, decoder);
    for (const token of listed) {
      if (isJsonObject(token) && typeof token.id === 'number')
        decoder.set(token.id, tokenOf('added_tokens', token));
    }
  }
  const byContent = new Map([...decoder.values()].map((token) => [token.content, token]));
  const roles = rolesOf(stated, defaults, byContent);
  if (named !== undefined)
    stated.set(
      'additional_special_tokens',
      named.map((token) => ({ ...token, __type: 'AddedToken' })),
    );
  const extra = extraTokens(stated, defaults);
  const late = [...stated.keys()].filter((key) => !isRole(key) && key.endsWith('_token'));
  const unnamed = late.map((key) => typedToken(key, stated.get(key))).filter((token) => token !== undefined);

  const added = [...decoder].sort(([a], [b]) => a - b).map(([, token]) => token);
  const known = new Set([...present, ...added.map(({ content }) => content)]);
  const special = [
    ...[...roles.values()].filter((token) => token !== null),
    ...unnamed,
    ...ownNames.values(),
  ];
  for (const token of [...special, ...extra]) if (!known.has(token.content)) added.push(token);
  const specialTexts = new Set(special.map(({ content }) => content));
  return {
    roles,
    extra,
    added: added.map((token) => ({ ...token, special: token.special || specialTexts.has(token.content) })),
  };
}

function rolesOf(
  stated: ReadonlyMap<string, unknown>,
  defaults: TokenDefaults,
  byContent: ReadonlyMap<string, StatedToken>,
): Map<Role, StatedToken | null> {
  const roles = new Map<Role, StatedToken | null>();
  for (const role of ROLES) {
    const value = stated.has(role) ? stated.get(role) : (defaults.roles[role] ?? null);
    if (value === null) {
      roles.set(role, null);
      continue;
    }
    const token = requireToken(role, value);
    const text = typeof value === 'string';
    const listed = stated.has(role) ? byContent.get(token.content) : undefined;
    const strips = text && role === 'mask_token' && defaults.maskStripsLeft === true;
    roles.set(role, listed ?? (strips ? { ...token, lstrip: true } : token));
  }
  return roles;
}

function extraTokens(stated: ReadonlyMap<string, unknown>, defaults: TokenDefaults): StatedToken[] {
  const value = stated.has('extra_special_tokens')
    ? stated.get('extra_special_tokens')
    : additionalTokens(stated, defaults);
  if (value === null || value === undefined) return [];
  if (!Array.isArray(value)) throw unreadable('extra_special_tokens', value);
  return value.map((each: unknown) => requireToken('extra_special_tokens', each));
}

function additionalTokens(stated: ReadonlyMap<string, unknown>, { additional }: TokenDefaults): unknown {
  const value = stated.get('additional_special_tokens') ?? undefined;
  if (additional === undefined || (value !== undefined && !Array.isArray(value))) return value;
  return additional(value, stated.get('extra_ids') ?? undefined);
}

/** Takes out the keys that name tokens of no role: `image_token: "<image>"`, or an object of names and tokens. */
function takeNamedTokens(stated: Map<string, unknown>): Map<string, StatedToken> {
  const named = new Map<string, StatedToken>();
  const take = (key: string, value: unknown) => named.set(key, requireToken(key, value));
  for (const [key, value] of stated) {
    if (!isRole(key) && key.endsWith('_token') && typeof value === 'string') {
      take(key, value);
      stated.delete(key);
    }
  }
  const extra = stated.get('extra_special_tokens');
  if (isJsonObject(extra)) {
    for (const [key, value] of Object.entries(extra)) take(key, value);
    stated.delete('extra_special_tokens');
  }
  const explicit = stated.get('model_specific_special_tokens');
  if (named.size === 0 && explicit !== undefined && explicit !== null) {
    if (!isJsonObject(explicit)) throw unreadable('model_specific_special_tokens', explicit);
    for (const [key, value] of Object.entries(explicit)) take(key, value);
  }
  return named;
}

function readDecoder(value: unknown, decoder: Map<number, StatedToken>): void {
  if (!isJsonObject(value)) throw unreadable('added_tokens_decoder', value);
  for (const [id, token] of Object.entries(value)) {
    if (!/^\d+$/.test(id) || !isJsonObject(token)) throw unreadable('added_tokens_decoder', { [id]: token });
    decoder.set(Number(id), tokenOf('added_tokens_decoder', token));
  }
}

function mergeSpecialTokensMap(
  map: Readonly<Record<string, unknown>>,
  stated: Map<string, unknown>,
  named: Map<string, StatedToken>,
): void {
  for (const [key, value] of Object.entries(map)) {
    if (key === 'extra_special_tokens' && Array.isArray(value)) {
      const before = stated.get(key);
      const all: unknown[] = Array.isArray(before) ? [...(before as unknown[])] : [];
      for (const token of value as unknown[])
        all.push(isJsonObject(token) ? typed({ ...token, special: true }) : token);
      stated.set(key, all);
    } else if (key === 'extra_special_tokens' && isJsonObject(value)) {
      for (const [name, each] of Object.entries(value)) named.set(name, requireToken(name, each));
      stated.delete(key);
    } else {
      stated.set(key, isJsonObject(value) ? typed({ ...value, special: true }) : value);
    }
  }
}

function mergeAddedTokens(
  ids: Readonly<Record<string, unknown>>,
  stated: ReadonlyMap<string, unknown>,
  decoder: Map<number, StatedToken>,
): void {
  const extra = stated.get('extra_special_tokens');
  const values = [
    ...ROLES.map((role) => stated.get(role)),
    ...(Array.isArray(extra) ? (extra as unknown[]) : []),
  ];
  const special = new Set(
    values.map((value) => (isJsonObject(value) && CONVERTED in value ? value.content : value)),
  );
  for (const [content, id] of Object.entries(ids)) {
    if (typeof id !== 'number') throw unreadable(`added_tokens.json: ${content}`, id);
    const isSpecial = special.has(content);
    decoder.set(id, tokenOf('added_tokens.json', { content, special: isSpecial, normalized: !isSpecial }));
  }
}

/** Marks tokens of special_tokens_map.json: transformers knows them by their text before those of tokenizer_config.json. */
const CONVERTED = Symbol('converted');
const typed = (token: Readonly<Record<string, unknown>>) => ({
  ...token,
  __type: 'AddedToken',
  [CONVERTED]: true,
});

/** A token as tokenizer_config.json gives it: its text, or an object that says of itself that it is a token. */
function typedToken(key: string, value: unknown): StatedToken | undefined {
  if (typeof value === 'string') return tokenOf(key, { content: value, special: true });
  return isJsonObject(value) && value.__type === 'AddedToken' ? tokenOf(key, value) : undefined;
}

function requireToken(key: string, value: unknown): StatedToken {
  const token = typedToken(key, value);
  if (token === undefined) throw unreadable(key, value);
  return token;
}

function tokenOf(key: string, token: Readonly<Record<string, unknown>>): StatedToken {
  const flag = (name: string): boolean => {
    const value = token[name] ?? false;
    if (typeof value !== 'boolean') throw unreadable(key, token);
    return value;
  };
  if (typeof token.content !== 'string') throw unreadable(key, token);
  const normalized = token.normalized ?? undefined;
  return {
    content: token.content,
    single_word: flag('single_word'),
    lstrip: flag('lstrip'),
    rstrip: flag('rstrip'),
    normalized: normalized === undefined ? undefined : flag('normalized'),
    special: flag('special'),
  };
}

const isRole = (key: string): key is Role => (ROLES as readonly string[]).includes(key);
const isTruthy = (value: unknown): boolean =>
  Array.isArray(value)
    ? value.length > 0
    : isJsonObject(value)
      ? Object.keys(value).length > 0
      : Boolean(value);

function unreadable(key: string, value: unknown): GradCacheError {
  const needed = 'a token\'s text, or an object with "__type": "AddedToken" and its content,';
  return refusedIn('The files of the tokenizer', key, value, needed);
}
