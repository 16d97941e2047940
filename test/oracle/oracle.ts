import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readSafetensors } from '../../lib/index.js';
import type { Numbers } from './compare.js';
import { PythonServer } from './python.js';

/** Architectures of models.py, each under the name that it is saved by. */
export const architectures = [
  'bert',
  'bert-relu',
  'bert-gelu-new',
  'roberta',
  'xlm-roberta',
  'distilbert',
  'distilbert-sinusoidal',
  'mpnet',
  'electra',
  'electra-square',
  'electra-discriminator',
  'modernbert',
  'modernbert-biased',
  'qwen3',
  'qwen3-windows',
  'qwen2',
  'llama',
  'llama-yarn',
  'mistral',
  'eurobert',
  'gemma2',
  'gemma3',
  'gemma3-causal',
  'deberta-v2',
  'deberta-v2-products',
  'deberta-v2-p2c',
  'ernie',
  'albert',
  't5',
  't5-gated',
  'nomic_bert',
  'gte',
  'gte-typeless',
] as const;

export interface Embeddings {
  readonly embeddings: number[][];
  /** Token ids of every text, special tokens included. */
  readonly ids: number[][];
  readonly dimension: number;
}

export interface Gradients {
  readonly loss: number;
  /** Safetensors file with one gradient per parameter, under the names of the sentence-transformers modules. */
  readonly file: string;
  readonly names: string[];
  /** Parameters that the representations do not depend on (a pooler). */
  readonly unused: string[];
  readonly logScaleGradient: number | null;
}

export interface LossSettings {
  readonly temperature?: number;
  readonly similarity?: 'cosine' | 'dot';
  readonly symmetric?: boolean;
  readonly targets?: number[];
  readonly learned?: boolean;
}

export interface SentenceTransformerSettings {
  readonly pooling: 'mean' | 'cls' | 'max' | 'lasttoken';
  /** [out features, activation, bias] of each Dense. */
  readonly dense?: [number, 'tanh' | 'identity' | 'relu' | 'gelu', boolean][];
  readonly normalize?: boolean;
  readonly prompts?: Record<string, string>;
  readonly default_prompt?: string;
  readonly max_length?: number;
}

/** A module behind a pooling. A dense layer: out features, class of torch.nn, bias, residual. */
export type ModuleDescription =
  ['dense', number, string, boolean, boolean] | ['norm'] | ['dropout', number] | ['normalize'];

export interface ModulesSettings {
  readonly pooling?: string | string[];
  readonly include_prompt?: boolean;
  readonly modules?: ModuleDescription[];
  readonly prompts?: Record<string, string>;
  readonly default_prompt?: string;
  /** Keys of sentence_bert_config.json. */
  readonly settings?: Record<string, unknown>;
  readonly weights?: 'safetensors' | 'pickle';
}

export interface SparseEncoderSettings {
  readonly strategy?: 'max' | 'sum';
  readonly activation?: 'relu' | 'log1p_relu';
  /** With the module that releases before 5.4 saved. */
  readonly legacy?: boolean;
  readonly prompts?: Readonly<Record<string, string>>;
}

export interface CrossEncoderSettings {
  readonly labels?: number;
  /** Changes of its configuration. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly by?: 'transformers' | 'sentence-transformers';
  /** A class of torch.nn. */
  readonly activation?: string;
  readonly max_length?: number;
  readonly prompts?: Record<string, string>;
}

export interface PairScores {
  readonly scores: number[][];
  readonly ids: number[][];
  /** The types of tokens; null where the model gets none. */
  readonly types: (number[] | null)[];
  readonly max_length: number;
  readonly activation: string;
}

/** What PEFT's LoraConfig is made with, and who saves the adapter. */
export interface AdapterSettings {
  readonly by?: 'peft' | 'sentence-transformers';
  readonly r: number;
  readonly lora_alpha: number;
  readonly lora_dropout?: number;
  readonly target_modules?: string | readonly string[];
  readonly exclude_modules?: readonly string[];
  readonly layers_to_transform?: readonly number[];
  readonly rank_pattern?: Readonly<Record<string, number>>;
  readonly alpha_pattern?: Readonly<Record<string, number>>;
  readonly use_rslora?: boolean;
  readonly use_dora?: boolean;
  readonly modules_to_save?: readonly string[];
  readonly bias?: 'none' | 'all' | 'lora_only';
}

/** What a MultiVectorEncoder is made with. */
export interface MultiVectorSettings {
  readonly width?: number;
  readonly normalize?: boolean;
  readonly skipped?: string[];
  readonly expansion?: { strategy: string; attend: boolean; length: number; token?: string };
  readonly query_length?: number;
  readonly document_length?: number;
  readonly prompts?: Record<string, string>;
  readonly similarity?: 'maxsim' | 'meanmaxsim';
}

/** A loss of late interaction. */
export interface MultiVectorLossSettings {
  readonly kind?: 'ranking' | 'kl' | 'margin';
  readonly similarity?: 'maxsim' | 'meanmaxsim' | 'xtr';
  readonly top_k?: number;
  readonly labels?: number[][];
  readonly cached?: boolean;
  readonly scale?: number;
  readonly temperature?: number;
}

/** PyTorch, transformers and sentence-transformers in a Python process, and a temporary folder for their files. */
export class Oracle {
  readonly folder = mkdtempSync(join(tmpdir(), 'gradcache-oracle-'));
  // `npm test` keeps a process that has imported everything, and gives each test file a copy of it (scripts/oracle.mjs).
  readonly #server = new PythonServer('test/oracle/oracle.py', {}, process.env.GRADCACHE_ORACLE);
  #requests = 0;

  /** Path of a file or folder that goes away with the oracle. */
  path(name: string): string {
    return join(this.folder, name);
  }

  versions(): Promise<Record<string, string>> {
    return this.#ask('versions', {});
  }

  /** `count` seeded sentences of `low`..`high` words. */
  sentences(seed: number, count: number, low: number, high: number): Promise<string[]> {
    return this.#ask('sentences', { seed, count, low, high });
  }

  saveTransformer(
    name: string,
    folder: string,
    options: { dtype?: string; shard?: string } = {},
  ): Promise<string> {
    return this.#ask('save_transformer', { name, folder: this.path(folder), ...options });
  }

  saveMaskedLanguageModel(folder: string, oldNormNames: boolean): Promise<string> {
    return this.#ask('save_masked_lm', { folder: this.path(folder), old_norm_names: oldNormNames });
  }

  saveSentenceTransformer(
    name: string,
    folder: string,
    settings: SentenceTransformerSettings,
  ): Promise<string> {
    return this.#ask('save_sentence_transformer', { name, folder: this.path(folder), ...settings });
  }

  /** A masked language model of one of the {@link architectures}, as transformers saves it. */
  saveLanguageModel(name: string, folder: string): Promise<string> {
    return this.#ask('save_language_model', { name, folder: this.path(folder) });
  }

  saveSparseEncoder(name: string, folder: string, settings: SparseEncoderSettings = {}): Promise<string> {
    return this.#ask('save_sparse_encoder', { name, folder: this.path(folder), ...settings });
  }

  embedSparse(
    folder: string,
    texts: readonly string[],
    options: { dtype?: string } = {},
  ): Promise<{ embeddings: number[][]; similarity: string; dimension: number; modules: string[] }> {
    return this.#ask('embed_sparse', { folder, texts, ...options });
  }

  /** Loss and gradients by CachedSpladeLoss, with the arguments of Python for it and for the loss that it wraps. */
  spladeGradients(
    folder: string,
    columns: readonly (readonly string[])[],
    settings: {
      base: 'ranking' | 'marginMSE' | 'distillKLDiv';
      options: Readonly<Record<string, unknown>>;
      base_options?: Readonly<Record<string, unknown>>;
      labels?: unknown;
    },
  ): Promise<Gradients> {
    const output = this.path(`gradients-${this.#requests}.safetensors`);
    return this.#ask('splade_gradients', { folder, columns, output, ...settings });
  }

  /** An adapter of the model in `base`, none of whose weights is 0. */
  saveAdapter(base: string, folder: string, settings: AdapterSettings): Promise<string> {
    return this.#ask('save_adapter', { base, folder: this.path(folder), ...settings });
  }

  /** Means of tokens by PeftModel, and the names of what it trains. */
  embedByPeft(
    base: string,
    folder: string,
    texts: readonly string[],
  ): Promise<{ embeddings: number[][]; trained: string[] }> {
    return this.#ask('embed_by_peft', { base, folder, texts });
  }

  embed(
    folder: string,
    texts: readonly string[],
    options: { dtype?: string; prompt_name?: string } = {},
  ): Promise<Embeddings> {
    return this.#ask('embed', { folder, texts, ...options });
  }

  /** Representations of each layer, that of the embeddings first, in float64. */
  layerRows(folder: string, texts: readonly string[]): Promise<number[][][]> {
    return this.#ask('layer_rows', { folder, texts });
  }

  gradients(
    folder: string,
    columns: readonly (readonly string[])[],
    settings: LossSettings & { dtype?: string; prompt?: string } = {},
  ): Promise<Gradients> {
    const output = this.path(`gradients-${this.#requests}.safetensors`);
    return this.#ask('gradients', { folder, columns, output, ...settings });
  }

  /**
   * Loss and gradients of one of sentence-transformers' loss classes, in float64.
   *
   * @param settings.params arguments of the class; functions and similarities by name
   * @param settings.weights values of the loss's own parameters, whose gradients are told as `loss.NAME`
   */
  classGradients(
    folder: string,
    columns: readonly (readonly string[])[],
    settings: {
      loss_class: string;
      params: object;
      labels?: unknown;
      weights?: Record<string, readonly number[]>;
    },
  ): Promise<Gradients> {
    const output = this.path(`gradients-${this.#requests}.safetensors`);
    return this.#ask('class_gradients', { folder, columns, output, ...settings });
  }

  /**
   * Loss and gradients of an encoder of SRU or SRU++ layers, from the folder that the package saved it in.
   *
   * @param columns token ids of each text
   * @param settings.by the layers written for the tests, or those of the authors' package
   */
  sruGradients(
    folder: string,
    columns: readonly (readonly (readonly number[])[])[],
    settings: { temperature: number; by: 'rendered' | 'published' },
  ): Promise<Gradients> {
    const output = this.path(`gradients-${this.#requests}.safetensors`);
    return this.#ask('sru_gradients', { folder, columns, output, ...settings });
  }

  /**
   * Gradients of the summed loss over segments; each segment is its inputs and its targets by row.
   *
   * @param options.window to how many tokens before its own a token attends; default: all
   */
  languageGradients(
    folder: string,
    segments: readonly (readonly [number[][], number[][]])[],
    options: { window?: number } = {},
  ): Promise<Gradients> {
    const output = this.path(`gradients-${this.#requests}.safetensors`);
    return this.#ask('language_gradients', { folder, segments, output, ...options });
  }

  /** A cross-encoder's folder, saved by transformers or sentence-transformers. */
  saveCrossEncoder(name: string, folder: string, settings: CrossEncoderSettings = {}): Promise<string> {
    return this.#ask('save_cross_encoder', { name, folder: this.path(folder), ...settings });
  }

  /** Scores of pairs as sentence-transformers' CrossEncoder gives them; `activated: false`: logits. */
  pairScores(
    folder: string,
    pairs: readonly (readonly [string, string])[],
    options: { dtype?: string; prompt?: string; activated?: boolean } = {},
  ): Promise<PairScores> {
    return this.#ask('pair_scores', { folder, pairs, ...options });
  }

  /** Logits by AutoModelForSequenceClassification, and the names of weights that it misses or does not know. */
  transformersLogits(
    folder: string,
    pairs: readonly (readonly [string, string])[],
  ): Promise<{ logits: number[][]; wrong: string[] }> {
    return this.#ask('transformers_logits', { folder, pairs });
  }

  /**
   * The value and gradients of a loss of sentence-transformers' cross-encoders.
   *
   * @param inputs its columns
   */
  pairGradients(
    folder: string,
    loss: string,
    inputs: readonly unknown[],
    settings: { options?: object; labels?: unknown; label_type?: 'float' | 'long' } = {},
  ): Promise<Gradients & { pairs: [string, string][] }> {
    const output = this.path(`gradients-${this.#requests}.safetensors`);
    return this.#ask('pair_gradients', { folder, loss, inputs, output, ...settings });
  }

  /** What sentence-transformers' CrossEncoderRerankingEvaluator measures. */
  reranking(
    folder: string,
    samples: readonly object[],
    options: { at?: number; always_rerank_positives?: boolean } = {},
  ): Promise<Record<string, number>> {
    return this.#ask('reranking', { folder, samples, ...options });
  }

  /** What evaluators of sentence-transformers measure of a model, by the task. */
  evaluators(
    folder: string,
    data: Readonly<Record<string, unknown>>,
  ): Promise<Record<string, Record<string, number>>> {
    return this.#ask('evaluators', { folder, ...data });
  }

  /** The same of a cross-encoder. */
  pairEvaluators(
    folder: string,
    data: Readonly<Record<'pairs' | 'scores' | 'labels', readonly unknown[]>>,
  ): Promise<Record<'sts' | 'binary', Record<string, number>>> {
    return this.#ask('pair_evaluators', { folder, ...data });
  }

  /** Measures of trec_eval at each k, as `ndcg@k`: of the grades and the scores of documents by query. */
  trec(
    judged: Readonly<Record<string, Readonly<Record<string, number>>>>,
    ranked: Readonly<Record<string, Readonly<Record<string, number>>>>,
    ks: readonly number[],
  ): Promise<Record<string, number>> {
    return this.#ask('trec', { judged, ranked, ks });
  }

  /** What mine_hard_negatives gives, and what it prints. */
  mine(
    folder: string,
    pairs: readonly (readonly [string, string])[],
    options: Readonly<Record<string, unknown>>,
  ): Promise<{ rows: Record<string, unknown>[]; printed: string }> {
    return this.#ask('mine', { folder, pairs, ...options });
  }

  /** A picture of noise; the ending of `name` says its format, `mode` Pillow's. */
  savePicture(
    name: string,
    size: { width: number; height: number; seed: number; mode?: string },
  ): Promise<string> {
    return this.#ask('save_picture', { path: this.path(name), ...size });
  }

  /** A folder of a tiny ViT, CLIP or SigLIP; `processor` changes what prepares pictures. */
  savePictureModel(kind: 'vit' | 'clip' | 'siglip', folder: string, processor: object = {}): Promise<string> {
    return this.#ask('save_picture_model', { kind, folder: this.path(folder), processor });
  }

  /** Pictures as a folder's image processor prepares them: [n][3][height][width]. */
  pixelValues(folder: string, paths: readonly string[]): Promise<number[][][][]> {
    return this.#ask('pixel_values', { folder, paths });
  }

  /** Representations by transformers, and `logit_scale`. */
  pictureFeatures(
    folder: string,
    paths: readonly string[],
    texts: readonly string[] = [],
    dtype = 'float64',
  ): Promise<{ images: number[][]; captions: number[][] | null; scale: number | null }> {
    return this.#ask('picture_features', { folder, paths, texts, dtype });
  }

  /** The scores of all pairs [pictures][captions] as CLIP or SigLIP makes them, and the model's own loss, in float64. */
  pictureScores(
    folder: string,
    paths: readonly string[],
    texts: readonly string[],
  ): Promise<{ scores: number[][]; loss: number }> {
    return this.#ask('picture_scores', { folder, paths, texts });
  }

  /** Gradients of InfoNCE in both directions, between pictures and captions. */
  pictureGradients(
    folder: string,
    paths: readonly string[],
    texts: readonly string[],
    temperature: number,
  ): Promise<Gradients> {
    const output = this.path(`gradients-${this.#requests}.safetensors`);
    return this.#ask('picture_gradients', { folder, paths, texts, output, temperature });
  }

  /** A folder of sentence-transformers' MultiVectorEncoder around a random model. */
  saveMultiVector(name: string, folder: string, settings: MultiVectorSettings = {}): Promise<string> {
    return this.#ask('save_multi_vector', { name, folder: this.path(folder), ...settings });
  }

  /** A folder as PyLate or Stanford's ColBERT save one, with these settings. */
  saveOlder(
    name: string,
    kind: 'pylate' | 'pylate-unnamed' | 'stanford',
    config: Readonly<Record<string, unknown>> | null,
  ): Promise<string> {
    const folder = this.path(`older-${this.#requests}`);
    return this.#ask('save_older', { name, folder, kind, config });
  }

  /** Representations of the tokens of texts, and the similarities of the first text with all. */
  embedTokens(
    folder: string,
    texts: readonly string[],
    task: 'query' | 'document',
  ): Promise<{ embeddings: number[][][]; similarity: string; scores: number[] }> {
    return this.#ask('embed_tokens', { folder, texts, task });
  }

  /** Loss and gradients of late interaction by the library's own loss; the first column is queries. */
  multiVectorGradients(
    folder: string,
    columns: readonly (readonly string[])[],
    settings: MultiVectorLossSettings = {},
  ): Promise<Gradients> {
    const output = this.path(`gradients-${this.#requests}.safetensors`);
    return this.#ask('multi_vector_gradients', { folder, columns, output, ...settings });
  }

  /** A folder with any modules behind a random model, or behind word vectors (`'static'`). */
  saveWithModules(base: string, folder: string, settings: ModulesSettings = {}): Promise<string> {
    return this.#ask('save_with_modules', { base, folder: this.path(folder), ...settings });
  }

  /** A folder as Model2Vec saves it. */
  saveModel2Vec(
    folder: string,
    settings: { normalize?: boolean; quantized?: boolean; modules?: boolean } = {},
  ): Promise<string> {
    return this.#ask('save_model2vec', { folder: this.path(folder), ...settings });
  }

  /** A folder with a Router: word vectors for queries, DistilBERT for documents, a LayerNorm and a Normalize for both. */
  saveRouter(folder: string, options: { legacy?: boolean } = {}): Promise<string> {
    return this.#ask('save_router', { folder: this.path(folder), ...options });
  }

  /** Puts pytorch_model.bin in the place of a folder's safetensors; `legacy`: as PyTorch before 1.6 wrote it. */
  pickleWeights(folder: string, options: { legacy: boolean }): Promise<string> {
    return this.#ask('pickle_weights', { folder, ...options });
  }

  /** Representations by `encode`, or by `encode_query` or `encode_document`. */
  encode(
    folder: string,
    texts: readonly string[],
    options: { task?: 'query' | 'document'; prompt_name?: string } = {},
  ): Promise<number[][]> {
    return this.#ask('encode', { folder, texts, ...options });
  }

  /** Moments of a text's representation over `count` draws of dropout. */
  dropoutMoments(
    folder: string,
    text: string,
    count: number,
  ): Promise<{ mean: number[]; deviation: number[] }> {
    return this.#ask('dropout_moments', { folder, text, count });
  }

  /** Every key of config.json with transformers' default, by model type. */
  configDefaults(modelTypes: readonly string[]): Promise<Record<string, Record<string, unknown>>> {
    return this.#ask('config_defaults', { model_types: modelTypes });
  }

  /** Every key that the file of a module of sentence-transformers may have, by module. */
  moduleKeys(): Promise<Record<string, string[]>> {
    return this.#ask('module_keys', {});
  }

  /** Saves a model with all that sentence-transformers can be told; the content of its JSON files. */
  savedFiles(folder: string): Promise<Record<string, unknown>> {
    return this.#ask('saved_files', { folder: this.path(folder) });
  }

  /**
   * An exported graph, which onnx has checked: its inputs, and its outputs (default: all) for token ids that are padded at one side.
   * Outputs for each token are those of the texts' own tokens, text after text.
   */
  runGraph(
    path: string,
    ids: readonly (readonly number[])[],
    options: { types?: readonly (readonly number[])[]; side?: 'left' | 'right'; outputs?: string[] } = {},
  ): Promise<{ inputs: string[]; outputs: Record<string, number[]> }> {
    return this.#ask('run_graph', { path, ids, ...options });
  }

  close(): void {
    this.#server.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #ask<T>(method: string, parameters: object): Promise<T> {
    const id = ++this.#requests;
    const answer = (await this.#server.ask({ id, method, parameters })) as {
      id: number;
      result: T;
      error?: string;
    };
    if (answer.error !== undefined) throw new Error(`${method} failed in Python:\n${answer.error}`);
    if (answer.id !== id) throw new Error(`the answer to request ${answer.id} came for request ${id}`);
    return answer.result;
  }
}

/** Gradients that Python wrote, as numbers by name. */
export async function readGradients({ file }: Gradients): Promise<Map<string, Numbers>> {
  const gradients = new Map<string, Numbers>();
  for (const [name, { dtype, bytes }] of await readSafetensors(file)) {
    const copy = Uint8Array.from(bytes).buffer;
    gradients.set(name, dtype === 'float64' ? new Float64Array(copy) : new Float32Array(copy));
  }
  return gradients;
}
