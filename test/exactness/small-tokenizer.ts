import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Tokenizer } from '../../lib/index.js';

/** A tokenizer of `size` words, w1 w2 …, without special tokens: for tests and benches that make token ids by hand. */
export async function smallTokenizer(
  size: number,
  options: Parameters<typeof Tokenizer.fromFile>[1] = {},
): Promise<Tokenizer> {
  const folder = mkdtempSync(join(tmpdir(), 'gradcache-tokenizer-'));
  const vocab = Object.fromEntries(Array.from({ length: size }, (_, k) => [k === 0 ? '[UNK]' : `w${k}`, k]));
  const path = join(folder, 'tokenizer.json');
  const content = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { type: 'Whitespace' },
    post_processor: null,
    decoder: null,
    model: { type: 'WordLevel', vocab, unk_token: '[UNK]' },
  };
  writeFileSync(path, JSON.stringify(content));
  try {
    return await Tokenizer.fromFile(path, options);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
