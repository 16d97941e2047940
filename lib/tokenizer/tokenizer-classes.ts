import { faultIn, refusedIn } from '../files/file-fault.js';
import { show } from '../options/option-values.js';
import {
  type Role,
  type StatedToken,
  type StatedTokens,
  statedTokens,
  type TokenDefaults,
} from './stated-tokens.js';
import { isJsonObject } from '../files/strict-json.js';
import type { TokenizerFiles } from './tokenizer-files.js';
import { sentinels, withSentinels } from './sentinels.js';
import {
  albertUnigrams,
  bytePairs,
  debertaUnigrams,
  gemmaPairs,
  llamaPairs,
  qwenPairs,
  t5Unigrams,
  unigrams,
  wordPieces,
  type Options,
  type Pipeline,
} from './tokenizer-pipelines.js';

type JsonObject = Readonly<Record<string, unknown>>;

/** The class that takes tokenizer.json as it stands. */
export const PLAIN_CLASS = 'PreTrainedTokenizerFast';

/**
 * A class of transformers 5 that keeps the vocabulary of a tokenizer.json and builds all the rest anew, from its own
 * defaults and tokenizer_config.json, whatever tokenizer.json says.
 */
export interface RebuildingClass extends TokenDefaults {
  readonly model: 'WordPiece' | 'BPE' | 'Unigram';
  /** The tokens around a text; null where the class leaves that to tokenizer.json. */
  readonly ends: Ends<Role> | null;
  /** How it reads a model of sentencepiece; absent: it reads none, or not here. */
  readonly sentencePiece?: SentencePieceReading;
  /** Whether models get the type of each token, where tokenizer_config.json does not say what they get. Default: false. */
  readonly typed?: boolean;
  readonly build: (parsed: JsonObject, options: Options) => Pipeline;
}

/** The tokens around a text. */
interface Ends<T> {
  /** Null: the text comes first. */
  readonly first: T | null;
  readonly last: T;
  readonly between: Separator;
  /** Whether what tokenizer.json says goes before it. Default: false. */
  readonly unlessStated?: boolean;
}

/** How a class reads a model of sentencepiece. */
interface SentencePieceReading {
  /** The name of its file. */
  readonly file: string;
  /** The vocabulary that the class makes of the model's pieces; absent: the pieces as they are. */
  readonly arrange?: (pieces: readonly ScoredPiece[], options: ArrangeOptions) => readonly ScoredPiece[];
}

type ScoredPiece = readonly [piece: string, score: number];

interface ArrangeOptions {
  readonly token: (role: Role) => string;
  /** tokenizer_config.json */
  readonly config: JsonObject;
}

/**
 * How often the last token stands between the two texts of a pair. With one, as BERT has it, the second text is of type 1; with
 * two, as RoBERTa has it, both are of type 0.
 */
type Separator = 'one' | 'two';

const BRACKETS = {
  unk_token: '[UNK]',
  sep_token: '[SEP]',
  pad_token: '[PAD]',
  cls_token: '[CLS]',
  mask_token: '[MASK]',
};
const ANGLES = {
  bos_token: '<s>',
  eos_token: '</s>',
  unk_token: '<unk>',
  sep_token: '</s>',
  pad_token: '<pad>',
  cls_token: '<s>',
  mask_token: '<mask>',
};
const AROUND = { first: 'cls_token', last: 'sep_token', between: 'one' } as const;
const AROUND_TWICE = { ...AROUND, between: 'two' } as const;

const BERT: RebuildingClass = {
  model: 'WordPiece',
  roles: BRACKETS,
  ends: AROUND,
  typed: true,
  build: wordPieces,
};
const ROBERTA: RebuildingClass = { model: 'BPE', roles: ANGLES, ends: AROUND_TWICE, build: bytePairs };

const REBUILDING: Readonly<Record<string, RebuildingClass>> = {
  BertTokenizer: BERT,
  DistilBertTokenizer: { ...BERT, typed: false },
  ElectraTokenizer: BERT,
  MobileBertTokenizer: BERT,
  MPNetTokenizer: {
    ...BERT,
    roles: { ...ANGLES, unk_token: '[UNK]' },
    maskStripsLeft: true,
    ends: AROUND_TWICE,
    typed: false,
  },
  RobertaTokenizer: ROBERTA,
  BartTokenizer: ROBERTA,
  LongformerTokenizer: ROBERTA,
  GPT2Tokenizer: {
    model: 'BPE',
    roles: {
      unk_token: '<|endoftext|>',
      bos_token: '<|endoftext|>',
      eos_token: '<|endoftext|>',
      pad_token: null,
    },
    ends: null,
    build: bytePairs,
  },
  Qwen2Tokenizer: {
    model: 'BPE',
    roles: { unk_token: '<|endoftext|>', eos_token: '<|endoftext|>', pad_token: '<|endoftext|>' },
    ends: null,
    build: qwenPairs,
  },
  LlamaTokenizer: {
    sentencePiece: { file: 'tokenizer.model' },
    model: 'BPE',
    roles: { unk_token: '<unk>', bos_token: '<s>', eos_token: '</s>' },
    ends: null,
    build: llamaPairs,
  },
  GemmaTokenizer: {
    sentencePiece: { file: 'tokenizer.model' },
    model: 'BPE',
    roles: {
      ...{ unk_token: '<unk>', bos_token: '<bos>', eos_token: '<eos>', pad_token: '<pad>' },
      mask_token: '<mask>',
    },
    ends: null,
    build: gemmaPairs,
  },
  AlbertTokenizer: {
    sentencePiece: { file: 'spiece.model' },
    model: 'Unigram',
    roles: { bos_token: '[CLS]', eos_token: '[SEP]', ...BRACKETS, unk_token: '<unk>', pad_token: '<pad>' },
    ends: { ...AROUND, unlessStated: true },
    build: albertUnigrams,
  },
  T5Tokenizer: {
    sentencePiece: {
      file: 'spiece.model',
      arrange: (pieces, { config }) => [
        ...pieces,
        ...sentinels(config.extra_ids)
          .map((token): ScoredPiece => [token, 0])
          .reverse(),
      ],
    },
    model: 'Unigram',
    roles: { eos_token: '</s>', unk_token: '<unk>', pad_token: '<pad>' },
    additional: withSentinels,
    ends: { first: null, last: 'eos_token', between: 'one' },
    build: t5Unigrams,
  },
  XLMRobertaTokenizer: {
    sentencePiece: {
      file: 'sentencepiece.bpe.model',
      arrange: (pieces, { token }) => [
        ...fairseqTokens(token, ['bos_token', 'pad_token', 'eos_token', 'unk_token']),
        ...pieces.slice(3),
        ...fairseqTokens(token, ['mask_token']),
      ],
    },
    model: 'Unigram',
    roles: ANGLES,
    ends: { first: 'bos_token', last: 'eos_token', between: 'two' },
    build: unigrams(() => 3),
  },
  DebertaV2Tokenizer: {
    sentencePiece: { file: 'spm.model' },
    model: 'Unigram',
    roles: { bos_token: '[CLS]', eos_token: '[SEP]', ...BRACKETS },
    ends: AROUND,
    typed: true,
    build: debertaUnigrams,
  },
  CamembertTokenizer: {
    sentencePiece: {
      file: 'sentencepiece.bpe.model',
      arrange: (pieces, { token }) => [
        ['<s>NOTUSED', 0],
        ...fairseqTokens(token, ['pad_token']),
        ['</s>NOTUSED', 0],
        ...fairseqTokens(token, ['unk_token']),
        ['<unk>NOTUSED', -100],
        ...pieces.slice(1),
        ...fairseqTokens(token, ['mask_token']),
      ],
    },
    model: 'Unigram',
    roles: ANGLES,
    maskStripsLeft: true,
    additional: (stated) => stated ?? ['<s>NOTUSED', '</s>NOTUSED', '<unk>NOTUSED'],
    ends: { first: 'bos_token', last: 'eos_token', between: 'two' },
    build: unigrams((vocabulary, token) =>
      Math.max(
        0,
        vocabulary.findIndex((entry) => Array.isArray(entry) && entry[0] === token),
      ),
    ),
  },
};

/** Tokens that these classes put into the vocabulary themselves. */
function fairseqTokens(token: (role: Role) => string, roles: readonly Role[]): ScoredPiece[] {
  return roles.map((role) => [token(role), 0]);
}

const PLAIN: readonly string[] = [PLAIN_CLASS, 'PreTrainedTokenizer', 'TokenizersBackend'];

/** A tokenizer as a class of transformers builds it. */
export interface BuiltTokenizer {
  /** Content for the tokenizers library. */
  readonly parsed: JsonObject;
  /** Tokens to add once that is read. */
  readonly added: readonly StatedToken[];
  /** The tokens to put around every text in place of what `parsed` says; null: what it says holds. */
  readonly ends: Ends<string> | null;
  /** Whether models get the types of tokens, which tell the two texts of a pair apart. */
  readonly typed: boolean;
  /** The token of each role, such as the mask token's; null for a role that no token has. */
  readonly roles: StatedTokens['roles'];
}

/**
 * What transformers makes of a tokenizer.json, so that token ids here are those in Python.
 *
 * @param tokenizerClass as tokenizer_config.json or config.json names it, with or without `Fast`
 * @throws GradCacheError `CHECKPOINT` for a class that is not supported, one that does not fit tokenizer.json, and
 * options of another type than the class takes
 */
export function buildTokenizer(
  parsed: JsonObject,
  tokenizerClass: string,
  files: TokenizerFiles,
): BuiltTokenizer {
  const listed: unknown[] = Array.isArray(parsed.added_tokens) ? parsed.added_tokens : [];
  const inputs = files.config?.model_input_names;
  const stated = Array.isArray(inputs) ? inputs.includes('token_type_ids') : undefined;
  if (stated === true) requireFirstType(parsed.post_processor);
  if (PLAIN.includes(tokenizerClass)) {
    const present = new Set(listed.map((token) => (isJsonObject(token) ? String(token.content) : '')));
    const padding = isJsonObject(parsed.padding) ? parsed.padding.pad_token : null;
    const roles = typeof padding === 'string' ? { pad_token: padding } : {};
    const tokens = statedTokens(files, { roles }, listed, present);
    return { parsed, added: tokens.added, ends: null, typed: stated ?? false, roles: tokens.roles };
  }
  const name = tokenizerClass.replace(/Fast$/, '');
  const rebuilding = rebuildingClass(name);
  if (rebuilding === undefined) {
    throw faultIn(
      'tokenizer_config.json',
      `tokenizer_class is ${show(tokenizerClass)}, which is not supported; supported are ` +
        `${[...Object.keys(REBUILDING), PLAIN_CLASS].join(', ')}. The last takes tokenizer.json as it stands, here and ` +
        'in Python: set tokenizer_class to it if that is what you want',
    );
  }
  const model = modelOf(parsed, rebuilding.model, name);
  const tokens = statedTokens(files, rebuilding, listed, new Set());
  const token = (role: Role): string => {
    const stated = tokens.roles.get(role) ?? null;
    if (stated !== null) return stated.content;
    throw refusedIn('tokenizer_config.json', role, null, `a token for ${name}`);
  };
  const built = rebuilding.build(parsed, { ...optionsOf(files.config ?? {}, name), token });
  return {
    parsed: withPipeline(parsed, built, model, tokens.added),
    added: [],
    ends: endsOf(rebuilding, parsed, token),
    typed: stated ?? rebuilding.typed ?? false,
    roles: tokens.roles,
  };
}

/** What is put around a text; null: what tokenizer.json says. */
function endsOf(
  { ends }: RebuildingClass,
  parsed: JsonObject,
  token: (role: Role) => string,
): Ends<string> | null {
  if (ends === null || (ends.unlessStated === true && isJsonObject(parsed.post_processor))) return null;
  const { first, last, between } = ends;
  return { first: first === null ? null : token(first), last: token(last), between };
}

/** The class of transformers that is called so, without `Fast`, if it builds its tokenizers anew. */
export const rebuildingClass = (name: string): RebuildingClass | undefined =>
  Object.hasOwn(REBUILDING, name) ? REBUILDING[name] : undefined;

/** The classes that read models of sentencepiece. */
export const sentencePieceClasses = (): string[] =>
  Object.keys(REBUILDING).filter((name) => REBUILDING[name]!.sentencePiece !== undefined);

/** A tokenizer.json as it stands, without tokens around a text. */
export function bareTokenizer(parsed: JsonObject): BuiltTokenizer {
  return {
    parsed: { ...parsed, post_processor: null },
    added: [],
    ends: null,
    typed: false,
    roles: new Map(),
  };
}

/** The model of tokenizer.json, if it is of the kind that the class builds. */
function modelOf(parsed: JsonObject, kind: RebuildingClass['model'], name: string): JsonObject {
  const { model } = parsed;
  const fits =
    isJsonObject(model) &&
    (model.type === undefined || model.type === kind) &&
    (kind === 'Unigram' ? Array.isArray(model.vocab) : isJsonObject(model.vocab)) &&
    (kind !== 'BPE' || Array.isArray(model.merges));
  if (fits) return model;
  const found = isJsonObject(model) ? show(model.type ?? 'a model without a type') : show(model);
  throw faultIn(
    'tokenizer.json',
    `the model is ${found}, where ${name} builds a ${kind}; name the class that it is for as ` +
      `tokenizer_class in tokenizer_config.json, or ${PLAIN_CLASS} to take it as it stands`,
  );
}

/** A text alone gets type 0 for every token; transformers gives it those of the template where models ask for types. */
function requireFirstType(processor: unknown): void {
  if (!isJsonObject(processor)) return;
  if (Array.isArray(processor.processors)) for (const each of processor.processors) requireFirstType(each);
  const pieces: unknown[] = Array.isArray(processor.single) ? processor.single : [];
  const other = pieces
    .map((piece) => (isJsonObject(piece) ? (piece.Sequence ?? piece.SpecialToken) : undefined))
    .find((piece) => isJsonObject(piece) && piece.type_id !== 0);
  if (other === undefined) return;
  throw faultIn(
    'tokenizer.json',
    `the template has ${show(other)}, and model_input_names of tokenizer_config.json asks for ` +
      'token_type_ids; supported is type 0 alone',
  );
}

function optionsOf(config: JsonObject, name: string): Pick<Options, 'flag' | 'flagOrNull'> {
  const flag = (key: string, otherwise: boolean): boolean => {
    const value = config[key];
    if (value === undefined) return otherwise;
    if (typeof value === 'boolean') return value;
    throw refusedIn('tokenizer_config.json', key, value, `true or false for ${name}`);
  };
  const flagOrNull = (key: string) =>
    config[key] === null || config[key] === undefined ? null : flag(key, true);
  return { flag, flagOrNull };
}

function withPipeline(
  parsed: JsonObject,
  { normalizer, pre_tokenizer, model: settings }: Pipeline,
  model: JsonObject,
  tokens: readonly StatedToken[],
): JsonObject {
  const { vocab, merges } = model;
  return {
    ...parsed,
    // The tokenizers library gives the ids, whatever is written here.
    added_tokens: tokens.map((token, id) => ({ id, ...asListed(token) })),
    normalizer,
    pre_tokenizer,
    model: { ...settings, vocab, ...(settings.type === 'BPE' && { merges }) },
  };
}

/** A token with all the fields of an entry in `added_tokens`. */
export function asListed(token: StatedToken): Required<StatedToken> {
  return { ...token, normalized: token.normalized ?? !token.special };
}
