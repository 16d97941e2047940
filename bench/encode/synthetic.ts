import { workload } from '../gpu/workload.js';

const CONSONANTS = [...'bcdfghjklmnprstvwz'];
const VOWELS = [...'aeiou'];
const SPECIAL = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'];
const ENDINGS = ['##s', '##ing', '##ed', '##er', '##ly'];

/** Made-up words of two or three syllables, each once. */
function words(count: number): string[] {
  const syllables = CONSONANTS.flatMap((consonant) => VOWELS.map((vowel) => consonant + vowel));
  const list: string[] = [];
  for (let k = 0; list.length < count; k++) {
    const [a, b, c] = [k % 90, Math.floor(k / 90) % 90, Math.floor(k / 8100)];
    list.push(syllables[a]! + syllables[b]! + (c === 0 ? '' : syllables[c - 1]!));
  }
  return list;
}

/** A tokenizer.json as BERT's: it lower-cases, splits words at punctuation and into pieces. */
export function bertTokenizer(vocabularySize: number): { readonly json: string; readonly words: string[] } {
  const known = words(vocabularySize - SPECIAL.length - ENDINGS.length - 2);
  const vocabulary = [...SPECIAL, ...ENDINGS, '.', ',', ...known];
  const special = (content: string) => ({
    ...{ id: vocabulary.indexOf(content), content, single_word: false, lstrip: false, rstrip: false },
    ...{ normalized: false, special: true },
  });
  const end = (token: string) => ({ id: token, ids: [vocabulary.indexOf(token)], tokens: [token] });
  const placed = (token: string) => ({ SpecialToken: { id: token, type_id: 0 } });
  const text = (id: string) => ({ Sequence: { id, type_id: 0 } });
  const content = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: SPECIAL.map(special),
    normalizer: {
      ...{ type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true },
      ...{ strip_accents: null, lowercase: true },
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'TemplateProcessing',
      single: [placed('[CLS]'), text('A'), placed('[SEP]')],
      pair: [placed('[CLS]'), text('A'), placed('[SEP]'), text('B'), placed('[SEP]')],
      special_tokens: { '[CLS]': end('[CLS]'), '[SEP]': end('[SEP]') },
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      ...{ type: 'WordPiece', unk_token: '[UNK]', continuing_subword_prefix: '##' },
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(vocabulary.map((token, id) => [token, id])),
    },
  };
  return { json: JSON.stringify(content), words: known };
}

/** Sentences of these words, in the lengths of the natural positives of the bench of steps; some words have an ending. */
export function sentences(known: readonly string[], count: number): string[] {
  const { ids, offsets } = workload('natural', count, known.length + 1000)[1];
  return Array.from({ length: count }, (_, row) => {
    const parts: string[] = [];
    for (let k = offsets[row]! + 2; k < offsets[row + 1]!; k++) {
      const id = ids[k]! - 1000;
      const word = known[id]!;
      if (id % 9 === 0 && k + 1 < offsets[row + 1]!) {
        parts.push(`${word}${ENDINGS[id % ENDINGS.length]!.slice(2)}`);
        k++; // two tokens
      } else parts.push(parts.length === 0 ? word[0]!.toUpperCase() + word.slice(1) : word);
    }
    return `${parts.join(' ')}.`;
  });
}
