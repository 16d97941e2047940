import { faultIn, refusedIn } from '../files/file-fault.js';
import { mergesOf } from './sentencepiece-merges.js';
import { readSentencePiece, type SentencePieceModel } from './sentencepiece-model.js';
import { ROLES, statedTokens, type Role, type StatedToken, type StatedTokens } from './stated-tokens.js';
import {
  asListed,
  buildTokenizer,
  rebuildingClass,
  sentencePieceClasses,
  type RebuildingClass,
} from './tokenizer-classes.js';
import { parseTokenizerFiles, type TokenizerFiles } from './tokenizer-files.js';

type JsonObject = Readonly<Record<string, unknown>>;

/** The files of a tokenizer with a tokenizer.json. */
export interface WholeTokenizer {
  readonly json: string;
  readonly companions: ReadonlyMap<string, Uint8Array>;
}

/** transformers takes a file of this name, if there is one, for every class. */
const ANY = 'tokenizer.model';

const CONFIG = 'tokenizer_config.json';

/** The command that has transformers write the files of a folder anew, with tokenizer.json. */
const WAY_OUT =
  "python3 -c \"from transformers import AutoTokenizer as T; T.from_pretrained('.').save_pretrained('.')\" in the folder writes " +
  'tokenizer.json';

/**
 * Makes the tokenizer.json that a folder lacks of its model of sentencepiece, as transformers does when it opens the folder, and
 * the tokenizer_config.json with which it is read as the folder was.
 *
 * @param companions the files of the tokenizer
 * @param tokenizerClass the class of transformers that reads them, with or without `Fast`
 * @returns undefined for a folder without a model of sentencepiece
 * @throws GradCacheError `CHECKPOINT` for a class that reads none, a damaged model, and what cannot be honoured
 */
export function fromSentencePiece(
  companions: ReadonlyMap<string, Uint8Array>,
  tokenizerClass: string,
): WholeTokenizer | undefined {
  const className = tokenizerClass.replace(/Fast$/, '');
  const files = [...companions.keys()].filter((name) => name.endsWith('.model'));
  if (files.length === 0) return undefined;
  const kind = rebuildingClass(className);
  const own = kind?.sentencePiece;
  const name = own && [ANY, own.file].find((each) => companions.has(each));
  if (own === undefined || name === undefined)
    throw faultIn(
      files[0]!,
      own === undefined
        ? `${tokenizerClass} is not read from a file of sentencepiece; supported are ${sentencePieceClasses().join(', ')}. ${WAY_OUT}`
        : `${tokenizerClass} reads ${own.file}, which is not there. ${WAY_OUT}`,
    );
  const model = readSentencePiece(name, companions.get(name)!);
  if (model.kind !== kind!.model)
    throw faultIn(name, `it is a ${model.kind} model, where ${className} reads a ${kind!.model}. ${WAY_OUT}`);
  const stated = parseTokenizerFiles(companions);
  const { _spm_precompiled_charsmap: ownMap } = stated.config ?? {};
  if (ownMap !== undefined) throw refusedIn(CONFIG, '_spm_precompiled_charsmap', ownMap, 'none');
  return wholeTokenizer(className, { kind: kind!, model, name, stated, companions });
}

interface Parts {
  readonly kind: RebuildingClass;
  readonly model: SentencePieceModel;
  readonly name: string;
  readonly stated: TokenizerFiles;
  readonly companions: ReadonlyMap<string, Uint8Array>;
}

function wholeTokenizer(className: string, { kind, model, name, stated, companions }: Parts): WholeTokenizer {
  const named = model.pieces.flatMap((piece) =>
    piece.named === null ? [] : [namedToken(piece.text, piece.named === 'control')],
  );
  const tokens = statedTokens(stated, kind, [], new Set(), named);
  const contentOf = (role: Role): string => {
    const token = tokens.roles.get(role) ?? null;
    if (token === null) throw refusedIn(CONFIG, role, null, `a token for ${className}`);
    return token.content;
  };
  requireSameUnknown(name, className, model, contentOf);
  const pieces = model.pieces.map(({ text, score }): readonly [string, number] => [text, score]);
  const vocabulary = kind.sentencePiece!.arrange?.(pieces, { token: contentOf, config: stated.config ?? {} });
  const words = vocabulary ?? pieces;
  const ids = new Map(words.map(([word], id) => [word, id]));
  let next = words.length; // a class may have put a piece into the vocabulary that is there already
  const added = tokens.added.map((token) => {
    const id = ids.get(token.content) ?? next++;
    ids.set(token.content, id);
    return { id, ...asListed(token) };
  });
  const config = completeConfig(className, stated.config ?? {}, tokens, added);
  const bare: JsonObject = {
    ...{ version: '1.0', truncation: null, padding: null, added_tokens: added },
    normalizer:
      model.map === null
        ? null
        : { type: 'Precompiled', precompiled_charsmap: Buffer.from(model.map).toString('base64') },
    ...{ pre_tokenizer: null, post_processor: null, decoder: decoderOf(model) },
    model: modelOf(words, model.kind),
  };
  const { parsed, ends } = buildTokenizer(bare, className, { config });
  const post_processor =
    ends === null || (kind.ends?.unlessStated === true && statesEnds(config))
      ? statedEnds(config, tokens, ids)
      : null;
  const whole = new Map([...companions].filter(([file]) => !OLD_FILES.has(file)));
  whole.set(CONFIG, new TextEncoder().encode(`${JSON.stringify(config, null, 2)}\n`));
  // `added_tokens` of what was built have the numbers of their places.
  const json = JSON.stringify({ ...parsed, added_tokens: added, post_processor });
  return { json, companions: whole };
}

/** What they say is in the new tokenizer_config.json. */
const OLD_FILES: ReadonlySet<string> = new Set(['special_tokens_map.json', 'added_tokens.json']);

const namedToken = (content: string, special: boolean): StatedToken => ({
  ...{ content, special, normalized: false },
  ...{ single_word: false, lstrip: false, rstrip: false },
});

/** A tokenizer_config.json that leaves nothing to the defaults of a class, which differ from what a model of sentencepiece says. */
function completeConfig(
  tokenizerClass: string,
  { additional_special_tokens: _, ...config }: JsonObject,
  tokens: StatedTokens,
  added: readonly ({ readonly id: number } & Required<StatedToken>)[],
): JsonObject {
  return {
    ...config,
    tokenizer_class: tokenizerClass,
    ...Object.fromEntries(ROLES.map((role) => [role, tokens.roles.get(role)?.content ?? null])),
    extra_special_tokens: tokens.extra.map(({ content }) => content),
    added_tokens_decoder: Object.fromEntries(added.map(({ id, ...token }) => [String(id), token])),
  };
}

function modelOf(
  words: readonly (readonly [string, number])[],
  kind: SentencePieceModel['kind'],
): JsonObject {
  if (kind === 'Unigram') return { type: kind, unk_id: 0, vocab: words, byte_fallback: false };
  const ids = new Map(words.map(([word], id) => [word, id]));
  return { type: kind, vocab: Object.fromEntries(ids), merges: mergesOf(ids) };
}

const decoderOf = ({ kind }: SentencePieceModel): JsonObject =>
  kind === 'Unigram'
    ? { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true }
    : {
        type: 'Sequence',
        decoders: [
          { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
          ...[{ type: 'ByteFallback' }, { type: 'Fuse' }],
        ],
      };

/**
 * Where DeBERTa's class finds no unknown piece with the score 0, it takes the number that the model names, but of a tokenizer.json
 * number 1.
 *
 * @throws GradCacheError `CHECKPOINT` where the two differ
 */
function requireSameUnknown(
  name: string,
  className: string,
  model: SentencePieceModel,
  token: (role: Role) => string,
): void {
  if (className !== 'DebertaV2Tokenizer' || model.unknown === 1) return;
  const unknown = token('unk_token');
  if (model.pieces.some(({ text, score }) => text === unknown && score === 0)) return;
  throw faultIn(
    name,
    `it has no piece ${JSON.stringify(unknown)} with the score 0, and its unknown piece is number ${model.unknown}: name that as ` +
      `unk_token in ${CONFIG}. ${WAY_OUT}`,
  );
}

const statesEnds = (config: JsonObject): boolean => 'add_bos_token' in config || 'add_eos_token' in config;

/** The template with which the classes that have none of their own put tokens around a text: none, unless they are asked for. */
function statedEnds(
  config: JsonObject,
  { roles }: StatedTokens,
  ids: ReadonlyMap<string, number>,
): JsonObject {
  const tokenFor = (key: string, role: Role): string | null => {
    const asked = config[key] ?? false;
    if (typeof asked !== 'boolean') throw refusedIn(CONFIG, key, asked, 'true or false');
    return asked ? (roles.get(role)?.content ?? null) : null;
  };
  const [first, last] = [tokenFor('add_bos_token', 'bos_token'), tokenFor('add_eos_token', 'eos_token')];
  const special = (id: string | null, type: number) =>
    id === null ? [] : [{ SpecialToken: { id, type_id: type } }];
  const text = (id: 'A' | 'B', type: number) => [
    ...special(first, type),
    { Sequence: { id, type_id: type } },
    ...special(last, type),
  ];
  const tokens = [first, last].filter((token) => token !== null);
  return {
    type: 'TemplateProcessing',
    single: text('A', 0),
    pair: [...text('A', 0), ...text('B', 1)],
    special_tokens: Object.fromEntries(
      tokens.map((token) => [token, { id: token, ids: [ids.get(token)!], tokens: [token] }]),
    ),
  };
}
