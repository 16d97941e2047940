import { cpSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chdir, cwd } from 'node:process';
import { TextEncoder, Tokenizer } from '../../../lib/index.js';
import type { Command } from '../../../lib/cli/command.js';
import { embedCommand } from '../../../lib/cli/embed.js';
import { evaluateCommand } from '../../../lib/cli/evaluate.js';
import { COMMON_FLAGS, type Flag } from '../../../lib/cli/flags.js';
import { trainCommand } from '../../../lib/cli/train.js';
import { runCommand } from '../../cli/program.js';
import { smallTokenizer } from '../../encoders/small-model.js';
import type { Random } from '../random-arguments.js';
import type { Target } from '../target.js';

const commands: Readonly<Record<string, Command>> = {
  train: trainCommand,
  embed: embedCommand,
  evaluate: evaluateCommand,
};

/** Good values by flag; other flags get a value of their kind. */
const GOOD: Readonly<Record<string, readonly string[]>> = {
  model: ['model'],
  'model-config': ['model/config.json'],
  tokenizer: ['model/tokenizer.json'],
  data: ['pairs.jsonl', 'pairs.csv'],
  input: ['pairs.jsonl', 'texts.txt', '-'],
  column: ['anchor'],
  columns: ['anchor,positive'],
  batch: ['2', '3'],
  steps: ['1', '2'],
  epochs: ['1'],
  device: ['cpu', 'auto'],
  task: ['retrieval', 'sts'],
  similarity: ['cosine', 'dot'],
  format: ['jsonl', 'csv', 'npy'],
  config: ['run.json'],
};
const OUTPUTS: Readonly<Record<string, readonly string[]>> = {
  train: ['out'],
  embed: ['vectors.jsonl', 'vectors.npy', 'vectors.safetensors', '-'],
  evaluate: ['scores.json'],
};
const TEXTS = [
  '',
  'x',
  '-',
  '--',
  'model',
  'pairs.csv',
  'out',
  'query',
  'anchor=query',
  'a,b',
  '\u0000',
  '🙂',
  '/nowhere',
  '.',
];
const NUMBERS = [
  '0',
  '1',
  '2',
  '-1',
  '0.5',
  '1e999',
  'NaN',
  '',
  ' ',
  '0x10',
  '9007199254740993',
  '2GiB',
  '1e-30',
];

function valueOf(command: string, name: string, flag: Flag, random: Random): string {
  const good = name === 'output' ? OUTPUTS[command] : GOOD[name];
  if (good !== undefined && random.next() < 0.85) return random.pick(good);
  if ((flag.kind === 'number' || flag.kind === 'bytes') && random.next() < 0.9) return random.pick(NUMBERS);
  return random.pick([...TEXTS, ...(flag.words ?? [])]);
}

/** Flags that most calls need, some that are there at random, and now and then one that no command has. */
function argumentsFor(command: string, { sections }: Command, random: Random): string[] {
  const flags = Object.entries(
    Object.assign({}, ...Object.values(sections), COMMON_FLAGS) as Record<string, Flag>,
  );
  const needed = ['model', 'data', 'input', 'column', 'output', 'batch', 'steps'];
  const args: string[] = [];
  for (const [name, flag] of flags) {
    if (name === 'help' || random.next() > (needed.includes(name) ? 0.93 : 0.03)) continue;
    if (flag.kind === 'switch') args.push(`--${random.next() < 0.3 ? 'no-' : ''}${name}`);
    else if (random.next() < 0.3) args.push(`--${name}=${valueOf(command, name, flag, random)}`);
    else args.push(`--${name}`, valueOf(command, name, flag, random));
  }
  if (random.next() < 0.05)
    args.splice(random.below(args.length + 1), 0, random.pick([...TEXTS, '--modle', '-x']));
  return args;
}

/** Command lines of train, embed and evaluate. */
export const commandLines: Target = {
  count: 60,
  prepare: async () => {
    const tokenizer = await Tokenizer.fromJson(JSON.stringify(smallTokenizer()));
    const sizes = { vocab_size: 18, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2 };
    const rest = { intermediate_size: 8, max_position_embeddings: 16 };
    await TextEncoder.create({ model_type: 'bert', ...sizes, ...rest }, tokenizer).save(
      join('good', 'model'),
    );
    const rows = ['the cat', 'the mat', 'a cat', 'on the mat', 'sat'].map((anchor) => ({
      anchor,
      positive: `${anchor} sat`,
      score: 1,
    }));
    writeFileSync('good/pairs.jsonl', rows.map((row) => JSON.stringify(row)).join('\n'));
    writeFileSync(
      'good/pairs.csv',
      ['anchor,positive', ...rows.map((row) => `${row.anchor},${row.positive}`)].join('\n'),
    );
    writeFileSync('good/texts.txt', rows.map((row) => row.anchor).join('\n'));
    writeFileSync(
      'good/run.json',
      JSON.stringify({ model: 'model', data: 'pairs.jsonl', output: 'out', batch: 2 }),
    );
    const home = cwd();
    return async (random, tell) => {
      const [name, command] = random.pick(Object.entries(commands));
      const args = argumentsFor(name, command, random);
      // Whatever a call wrote, the next one finds what the first one did.
      chdir(home);
      rmSync('work', { recursive: true, force: true });
      cpSync('good', 'work', { recursive: true });
      chdir('work');
      tell([name, ...args].join(' '));
      await runCommand(command, args);
    };
  },
};
