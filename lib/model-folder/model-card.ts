import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { readJsonObject } from '../files/json-file.js';
import { cardHead } from '../hub/card-head.js';
import { isRepositoryName } from '../hub/hub-name.js';
import { isJsonObject } from '../files/strict-json.js';
import { isCrossEncoderFolder } from './is-cross-encoder-folder.js';
import { MODEL_CONFIG, statedKind } from './sentence-config.js';

/** The run that made a model, for its card. */
export interface CardRun {
  /** What it started from, as `owner/name` of the hub; null for a folder, and for random weights. */
  readonly base: string | null;
  /** The licence that the card of that model states. */
  readonly licence: string | null;
  /** Data sets of the hub, as `owner/name`. */
  readonly datasets: readonly string[];
  /** What it was trained on and how: a name and a value for each row of a table. */
  readonly facts: readonly (readonly [name: string, value: string])[];
  /** On held-out data; `before` where it was measured before the first update. */
  readonly scores: readonly {
    readonly name: string;
    readonly before: number | null;
    readonly after: number;
  }[];
}

/** What a kind of model is, and how it is used. */
interface Kind {
  readonly what: string;
  readonly pipeline: string;
  readonly tags: readonly string[];
  readonly node: (name: string) => string;
  readonly python: (name: string) => string;
}

const TEXTS = "['A text.', 'Another text.']";

const encoder = (what: string, pythonClass: string, tags: readonly string[], call: string): Kind => ({
  what,
  pipeline: tags.includes('sparse-encoder') ? 'feature-extraction' : 'sentence-similarity',
  tags: ['feature-extraction', ...tags],
  node: (name) =>
    `import { TextEncoder } from 'gradcache';\n\nconst model = await TextEncoder.load('hf:${name}');\n` +
    `const representations = await model.${call}(${TEXTS});`,
  python: (name) =>
    `from sentence_transformers import ${pythonClass}\n\nmodel = ${pythonClass}("${name}")\n` +
    `representations = model.encode(${TEXTS.replaceAll("'", '"')})`,
});

const KINDS: Readonly<Record<string, Kind>> = {
  SentenceTransformer: encoder(
    'a text encoder, which turns a text into a vector',
    'SentenceTransformer',
    ['sentence-similarity'],
    'encode',
  ),
  SparseEncoder: encoder(
    'a sparse encoder (SPLADE), which turns a text into weights of words',
    'SparseEncoder',
    ['sparse-encoder', 'splade'],
    'encodeSparse',
  ),
  MultiVectorEncoder: encoder(
    'an encoder for late interaction, which turns each token of a text into a vector',
    'MultiVectorEncoder',
    ['multi-vector', 'ColBERT'],
    'encodeTokens',
  ),
  CrossEncoder: {
    what: 'a cross-encoder, which scores pairs of texts',
    pipeline: 'text-ranking',
    tags: ['cross-encoder', 'reranker'],
    node: (name) =>
      `import { CrossEncoder } from 'gradcache';\n\nconst model = await CrossEncoder.load('hf:${name}');\n` +
      `const scores = await model.predict([['A question?', 'An answer.']]);`,
    python: (name) =>
      `from sentence_transformers import CrossEncoder\n\nmodel = CrossEncoder("${name}")\n` +
      `scores = model.predict([["A question?", "An answer."]])`,
  },
};

/**
 * A model card: what the model is, how it is used in Node.js and in Python, what it was trained on and how, its scores, its
 * licence. Its head is what the hub reads.
 *
 * @param folder of the model
 * @param name `owner/name`
 * @param run undefined where the run is not known
 * @throws GradCacheError `CHECKPOINT` where the folder cannot be read
 */
export async function modelCard(folder: string, name: string, run: CardRun | undefined): Promise<string> {
  const kind = KINDS[await kindOf(folder)]!;
  const { licence = null, datasets = [], facts = [], scores = [] } = run ?? {};
  const base = run?.base ?? (await adaptedIn(folder));
  const head = {
    library_name: 'sentence-transformers',
    pipeline_tag: kind.pipeline,
    tags: ['sentence-transformers', ...kind.tags, 'gradcache'],
    ...(base !== null && { base_model: base }),
    ...(licence !== null && { license: licence }),
    ...(datasets.length > 0 && { datasets }),
  };
  const from = base === null ? '' : ` It was fine-tuned from [${base}](https://huggingface.co/${base}).`;
  const sections = [
    `---\n${stringify(head)}---`,
    `# ${name.split('/').at(-1)}`,
    `This is ${kind.what}.${from} It was trained with [gradcache](https://www.npmjs.com/package/gradcache).`,
    '## Use it',
    `In Node.js (\`npm install gradcache\`):\n\n\`\`\`ts\n${kind.node(name)}\n\`\`\``,
    `In Python (\`pip install sentence-transformers\`):\n\n\`\`\`python\n${kind.python(name)}\n\`\`\``,
    ...(await promptsSection(folder)),
    ...(facts.length === 0 ? [] : ['## Training', table(['', ''], facts)]),
    ...(scores.length === 0 ? [] : ['## Scores on held-out data', scoreTable(scores)]),
    ...licenceSection(base, licence),
  ];
  return `${sections.join('\n\n')}\n`;
}

/** The class of sentence-transformers that opens a folder. */
async function kindOf(folder: string): Promise<string> {
  const stated = await statedKind(folder);
  if (typeof stated === 'string' && Object.hasOwn(KINDS, stated)) return stated;
  return (await isCrossEncoderFolder(folder)) ? 'CrossEncoder' : 'SentenceTransformer';
}

/** The base model of an adapter, if it is one of the hub. */
async function adaptedIn(folder: string): Promise<string | null> {
  const { base_model_name_or_path: base } = (await readJsonObject(join(folder, 'adapter_config.json'))) ?? {};
  return typeof base === 'string' && isRepositoryName(base) ? base : null;
}

async function promptsSection(folder: string): Promise<string[]> {
  const { prompts } = (await readJsonObject(join(folder, MODEL_CONFIG))) ?? {};
  const filled = isJsonObject(prompts) ? Object.entries(prompts).filter(([, words]) => words !== '') : [];
  if (filled.length === 0) return [];
  const rows = filled.map(([prompt, words]) => [code(prompt), code(String(words))] as const);
  return ['It has prompts, which go before a text:', table(['prompt', 'words'], rows)];
}

function licenceSection(base: string | null, licence: string | null): string[] {
  if (licence !== null && base !== null) return ['## Licence', `${licence}, that of ${base}.`];
  if (licence !== null) return ['## Licence', `${licence}, that of the model that it was trained from.`];
  return base === null ? [] : ['## Licence', `The card of ${base} names no licence: ask its owner.`];
}

function scoreTable(scores: CardRun['scores']): string {
  const digits = (value: number | null): string => (value === null ? '–' : value.toFixed(4));
  if (scores.every(({ before }) => before === null))
    return table(
      ['score', 'after training'],
      scores.map(({ name, after }) => [name, digits(after)]),
    );
  return table(
    ['score', 'before', 'after'],
    scores.map(({ name, before, after }) => [name, digits(before), digits(after)]),
  );
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll(/\r?\n/g, ' ');
  const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

const code = (text: string): string => `\`${text.replaceAll('`', "'")}\``;

/** The licence that the card in a folder states; null where there is none. */
export async function licenceIn(folder: string): Promise<string | null> {
  const card = await readFile(join(folder, 'README.md'), 'utf8').catch(() => '');
  const { license } = cardHead(card);
  return typeof license === 'string' ? license : null;
}
