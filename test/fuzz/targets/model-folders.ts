import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TextEncoder, Tokenizer } from '../../../lib/index.js';
import { smallTokenizer } from '../../encoders/small-model.js';
import { mutateBytes, mutateJson, mutateText, type Json } from '../mutations.js';
import type { Random } from '../random-arguments.js';
import type { Target } from '../target.js';

const sizes = {
  vocab_size: 18,
  hidden_size: 12,
  num_hidden_layers: 1,
  num_attention_heads: 3,
  intermediate_size: 7,
  max_position_embeddings: 20,
  dim: 12,
  n_layers: 1,
  n_heads: 3,
  hidden_dim: 7,
};
const ARCHITECTURES = ['bert', 'roberta', 'xlm-roberta', 'distilbert', 'mpnet'];

/** Files that a saved folder lacks, as others write them. */
const FURTHER: Readonly<Record<string, Json>> = {
  'special_tokens_map.json': { cls_token: '[CLS]', pad_token: { content: '[PAD]', lstrip: false } },
  'added_tokens.json': { '[MASK]': 4, last: 17 },
  'tokenizer_config.json': {
    tokenizer_class: 'PreTrainedTokenizerFast',
    model_max_length: 12,
    added_tokens_decoder: { 4: { content: '[MASK]', special: true } },
  },
};

/** The content of each file of a model of this architecture, by name. */
async function folderOf(architecture: string): Promise<Map<string, Buffer>> {
  const tokenizer = await Tokenizer.fromJson(JSON.stringify(smallTokenizer()));
  const encoder = TextEncoder.create({ model_type: architecture, ...sizes }, tokenizer, { normalize: true });
  encoder.setPrompt('query', 'the ');
  await encoder.save(architecture);
  encoder.dispose();
  const files = new Map<string, Buffer>();
  for (const entry of readdirSync(architecture, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) files.set(path.slice(architecture.length + 1), readFileSync(path));
  }
  for (const [name, json] of Object.entries(FURTHER))
    if (!files.has(name)) files.set(name, Buffer.from(JSON.stringify(json)));
  return files;
}

/** The same folder with its weights in a shard, and the index of it. */
function sharded(files: ReadonlyMap<string, Buffer>): Map<string, Buffer> {
  const { 'model.safetensors': weights, ...others } = Object.fromEntries(files);
  const header = weights!.toString('utf8', 8, 8 + Number(weights!.readBigUInt64LE()));
  const { __metadata__: _, ...tensors } = JSON.parse(header) as Record<string, Json>;
  const shard = 'model-00001-of-00001.safetensors';
  const map = Object.fromEntries(Object.keys(tensors).map((name) => [name, shard]));
  const index = Buffer.from(JSON.stringify({ metadata: { total_size: 1 }, weight_map: map }));
  return new Map(Object.entries({ ...others, [shard]: weights!, 'model.safetensors.index.json': index }));
}

function damage(name: string, file: Buffer, random: Random): Buffer | null {
  if (random.next() < 0.03) return null;
  if (!name.endsWith('.json')) return mutateBytes(file, random);
  if (random.next() < 0.2) return Buffer.from(mutateText(file.toString(), random));
  const holder = { json: JSON.parse(file.toString()) as Json };
  for (let changes = 1 + random.below(3); changes > 0; changes--) mutateJson(holder, random);
  return Buffer.from(JSON.stringify(holder.json) ?? '');
}

/** Model folders of which one file or two are damaged or missing. What loads must encode, and save again. */
export const modelFolders: Target = {
  count: 500,
  prepare: async () => {
    const folders: Map<string, Buffer>[] = [];
    for (const architecture of ARCHITECTURES) folders.push(await folderOf(architecture));
    folders.push(sharded(folders[0]!));
    return async (random, tell) => {
      const good = random.pick(folders);
      const files = new Map(good);
      for (let count = 1 + random.below(2); count > 0; count--) {
        const name = random.pick([...good.keys()]);
        const damaged = damage(name, good.get(name)!, random);
        tell(name);
        if (damaged === null) files.delete(name);
        else files.set(name, damaged);
      }
      rmSync('model', { recursive: true, force: true });
      for (const [name, file] of files) {
        mkdirSync(join('model', name, '..'), { recursive: true });
        writeFileSync(join('model', name), file);
      }
      const encoder = await TextEncoder.load('model');
      try {
        const encoded = await encoder.encode(['the cat sat', 'mats']);
        encoded.dispose();
        if (random.next() < 0.1) await encoder.save('saved');
      } finally {
        encoder.dispose();
      }
    };
  },
};
