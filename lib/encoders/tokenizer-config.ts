import type { TokenizerSettings } from './tokenizer-settings.js';

/** Tokenizer classes of transformers that build their normalizer from tokenizer_config.json, whatever tokenizer.json says. */
const BERT_CLASSES = new Set(['BertTokenizer', 'DistilBertTokenizer', 'MPNetTokenizer', 'ElectraTokenizer']);
const BYTE_LEVEL_CLASSES = new Set(['RobertaTokenizer']);
const CLASS_OF_MODEL: ReadonlyMap<string, string> = new Map([
  ['bert', 'BertTokenizer'],
  ['distilbert', 'DistilBertTokenizer'],
  ['mpnet', 'MPNetTokenizer'],
  ['roberta', 'RobertaTokenizer'],
]);

/**
 * The settings in tokenizer_config.json that change token ids in transformers, with the defaults of the class named there.
 *
 * @param config tokenizer_config.json, or undefined where there is none: then tokenizer.json is taken as it is
 * @param lowercase `do_lower_case` of sentence_bert_config.json
 */
export function tokenizerSettingsOf(
  config: Readonly<Record<string, unknown>> | undefined,
  modelType: string,
  lowercase: boolean,
): TokenizerSettings {
  if (config === undefined) return { lowercase };
  const stated =
    typeof config.tokenizer_class === 'string' ? config.tokenizer_class : CLASS_OF_MODEL.get(modelType);
  const tokenizerClass = stated?.replace(/Fast$/, '') ?? '';
  const side = config.truncation_side;
  return {
    lowercase,
    truncationSide: side === 'left' || side === 'right' ? side : undefined,
    bertNormalizer: BERT_CLASSES.has(tokenizerClass)
      ? {
          lowercase: config.do_lower_case !== false,
          strip_accents: typeof config.strip_accents === 'boolean' ? config.strip_accents : null,
          handle_chinese_chars: config.tokenize_chinese_chars !== false,
        }
      : undefined,
    addPrefixSpace: BYTE_LEVEL_CLASSES.has(tokenizerClass) ? config.add_prefix_space === true : undefined,
  };
}

/** Roles that transformers knows, and the usual spelling of the token that plays each. */
const ROLES: readonly (readonly [role: string, spellings: readonly string[]])[] = [
  ['unk_token', ['[UNK]', '<unk>']],
  ['sep_token', ['[SEP]', '</s>']],
  ['pad_token', ['[PAD]', '<pad>']],
  ['cls_token', ['[CLS]', '<s>']],
  ['mask_token', ['[MASK]', '<mask>']],
  ['bos_token', ['[BOS]', '<s>']],
  ['eos_token', ['[EOS]', '</s>']],
];

/** A tokenizer_config.json for a tokenizer.json that comes alone: enough for transformers to open and pad with it. */
export function minimalTokenizerConfig(
  specialTokens: readonly string[],
  maxLength: number,
): Record<string, unknown> {
  const config: Record<string, unknown> = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    model_max_length: maxLength,
  };
  for (const [role, spellings] of ROLES) {
    const token = spellings.find((spelling) => specialTokens.includes(spelling));
    if (token !== undefined) config[role] = token;
  }
  return config;
}
