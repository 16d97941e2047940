import { GradCacheError } from '../errors.js';
import type { TextTask } from '../model-folder/late-interaction.js';
import type { ModelSnapshot } from '../model-folder/model-snapshot.js';
import type { Similarity, TokenSimilarity } from '../options/similarity.js';
import type { Parameter, Tensor } from '../tensor/tensor.js';
import type { SparseRows } from './sparse-rows.js';
import {
  TextEncoder,
  type LoadOptions,
  type TaskEncodeOptions,
  type TokenRepresentations,
} from './text-encoder.js';

/** What {@link RoutedEncoder.encode} takes. */
type RoutedEncodeOptions = TaskEncodeOptions & { readonly task?: TextTask | undefined };

/** The two encoders of a folder with a Router, one of queries and one of documents, where one encoder is expected. */
export class RoutedEncoder {
  readonly query: TextEncoder;
  readonly document: TextEncoder;
  readonly sparse = false;
  readonly perToken = false;
  readonly expandsQueries = false;

  private constructor(query: TextEncoder, document: TextEncoder) {
    this.query = query;
    this.document = document;
  }

  /**
   * Loads both routes.
   *
   * @throws GradCacheError `INPUT` for routes without one dense representation of a text, and as {@link TextEncoder.load}
   */
  static async load(folder: string, options: Omit<LoadOptions, 'route'>): Promise<RoutedEncoder> {
    const opened: TextEncoder[] = [];
    try {
      for (const route of ['query', 'document'] as const)
        opened.push(await TextEncoder.load(folder, { ...options, route }));
      const [query, document] = opened as [TextEncoder, TextEncoder];
      if (opened.some(({ sparse, perToken }) => sparse || perToken))
        throw new GradCacheError(
          'INPUT',
          `${folder} has a Router whose models do not all give one dense representation of a text: say which of them with the route ` +
            "'query' or 'document'.",
        );
      return new RoutedEncoder(query, document);
    } catch (error) {
      for (const encoder of opened) encoder.dispose();
      throw error;
    }
  }

  get device(): string {
    return this.document.device;
  }

  get precision(): TextEncoder['precision'] {
    return this.document.precision;
  }

  /** The most tokens of a text: of both. */
  get maxLength(): number {
    return Math.min(this.query.maxLength, this.document.maxLength);
  }

  get statedMaxLength(): number {
    return Math.min(this.query.statedMaxLength, this.document.statedMaxLength);
  }

  get dimension(): number {
    return this.document.dimension;
  }

  get trainedDimension(): number {
    return this.document.trainedDimension;
  }

  get layers(): readonly number[] {
    return this.document.layers;
  }

  get automaticChunk(): TextEncoder['automaticChunk'] {
    return this.document.automaticChunk;
  }

  /** Those of both. */
  parameters(): Parameter[] {
    return [...this.query.parameters(), ...this.document.parameters()];
  }

  get prompts(): Readonly<Record<string, string>> {
    return this.document.prompts;
  }

  get similarity(): string | null {
    return this.document.similarity;
  }

  setSimilarity(name: Similarity | TokenSimilarity): void {
    this.query.setSimilarity(name);
    this.document.setSimilarity(name);
  }

  setPrompt(name: string, text: string): void {
    this.query.setPrompt(name, text);
    this.document.setPrompt(name, text);
  }

  /** @throws GradCacheError `INPUT` without a task: the encoders of queries and documents differ */
  async encode(texts: readonly string[], { task, ...options }: RoutedEncodeOptions = {}): Promise<Tensor> {
    if (task !== undefined) return this[task].encode(texts, { ...options, task });
    throw new GradCacheError(
      'INPUT',
      "this model has a Router, with an encoder of queries and another of documents, and it isn't said what these texts are: take one " +
        "of the two, with the route 'query' or 'document' (--route).",
    );
  }

  async encodeQuery(texts: readonly string[], options: TaskEncodeOptions = {}): Promise<Tensor> {
    return this.query.encodeQuery(texts, options);
  }

  async encodeDocument(texts: readonly string[], options: TaskEncodeOptions = {}): Promise<Tensor> {
    return this.document.encodeDocument(texts, options);
  }

  /** @throws GradCacheError `INPUT` */
  async encodeSparse(): Promise<SparseRows> {
    throw new GradCacheError('INPUT', 'the encoders of this model are not sparse: use encode()');
  }

  /** @throws GradCacheError `INPUT` */
  async encodeTokens(): Promise<TokenRepresentations> {
    throw new GradCacheError('INPUT', 'this model has one representation of a text: use encode()');
  }

  /** Both as a folder with a Router. */
  async snapshot(): Promise<ModelSnapshot> {
    const { query, document } = this;
    return TextEncoder.snapshotRoutes({ query, document });
  }

  dispose(): void {
    this.query.dispose();
    this.document.dispose();
  }
}
