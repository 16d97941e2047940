import { architectureOf } from '../architectures/architectures.js';
import { GradCacheError } from '../errors.js';
import { SettingError } from '../options/fields.js';
import { requireNumber, requireOneOf, show } from '../options/option-values.js';
import { plural } from '../options/plural.js';
import { interactionLengths, type LateInteraction, type TextTask } from '../model-folder/late-interaction.js';
import { mostTokens } from '../model-folder/length-limit.js';
import type { ModelFolder } from '../model-folder/model-folder.js';
import type { TokenBatch, WindowPiece } from '../tokenizer/tokenizer.js';
import { interactionOf } from './per-token.js';
import { TokenTasks } from './token-tasks.js';

/** How a model makes token ids of a text. */
export interface TextTasks {
  /**
   * @param prefix what is put in front of every text
   * @param maxLength the most tokens of a text in this call; undefined: the model's own limit
   * @throws GradCacheError `INPUT`
   */
  tokenize(
    texts: readonly string[],
    prefix: string,
    maxLength: number | undefined,
    task: TextTask | undefined,
  ): Promise<TokenBatch>;
  /**
   * Texts that are too long in windows, piece by piece.
   *
   * @param overlap how many tokens a window repeats of the one before it
   * @param most the least tokens of a piece that is not the last
   * @throws GradCacheError `INPUT` also for queries that are expanded
   */
  windowPieces(
    texts: readonly string[],
    options: {
      readonly prefix: string;
      readonly overlap: number;
      readonly task: TextTask | undefined;
      readonly most: number;
    },
  ): AsyncGenerator<WindowPiece, void, undefined>;
}

/** How a model reads its texts. @param limit the most tokens of a text that the caller allows; undefined: the model's */
export function textTasksOf(folder: ModelFolder, limit: number | undefined): TextTasks {
  const most = limit ?? folder.maxLength;
  if (folder.pooling !== 'none') return new PooledTexts(folder, limit);
  const interaction = interactionOf(folder.lateInteraction);
  requirePlaces(folder, interaction);
  requireExpansion(folder.modelType, interaction);
  const tasks = new TokenTasks(interaction, folder.tokenizer);
  return {
    async tokenize(texts, prefix, asked, task) {
      if (asked !== undefined) requireLimit(asked, most);
      const length = tasks.lengthOf(task, asked ?? limit, most);
      return tasks.finish(await folder.tokenizer.encode(texts, { maxLength: length, prefix }), task);
    },
    async *windowPieces(texts, { prefix, overlap, task, most: tokens }) {
      const maxLength = tasks.lengthOf(task, limit, most);
      if (task === 'query' && interaction.queryExpansion !== null)
        throw new GradCacheError(
          'INPUT',
          'windows is given, and queries of this model are expanded to one length: leave it out, or encode them as documents.',
        );
      const pieces = folder.tokenizer.windowPieces(texts, { maxLength, prefix, overlap }, tokens);
      for await (const { batch, texts: of } of pieces) yield { batch: tasks.finish(batch, task), texts: of };
    },
  };
}

/** @throws SettingError for a length that is no model's: those of a folder are refused before, but for one without room for a text */
function requirePlaces({ modelType, config, tokenizer }: ModelFolder, interaction: LateInteraction): void {
  const most = mostTokens(modelType, config);
  const least = tokenizer.specialTokensPerText + 1;
  for (const [name, length] of interactionLengths(interaction)) {
    const path = `lateInteraction.${name}`;
    if (length > most)
      throw new SettingError(
        path,
        `is ${length}; at most ${most}, the model's number of positions, is needed.`,
      );
    if (length < least)
      throw new SettingError(
        path,
        `is ${length}; a whole number from ${least} is needed: ${plural(least - 1, 'special token')} and at least one of the text.`,
      );
  }
}

/** @throws GradCacheError `CHECKPOINT` for tokens that nothing is to attend to, in a model whose tokens always have a part */
function requireExpansion(modelType: string, { queryExpansion }: LateInteraction): void {
  if (queryExpansion === null || queryExpansion.attend === true) return;
  if (architectureOf(modelType).alwaysAttended !== true) return;
  throw new GradCacheError(
    'CHECKPOINT',
    `attend of the query's expansion is false, and in a model of type ${show(modelType)} every token has a part in the ` +
      'representations of the others: set it to true and train the model with it.',
  );
}

function requireLimit(maxLength: number, most: number): void {
  requireNumber('maxLength', maxLength, { from: 1, to: most, whole: true });
}

/** A model with one representation of a text. Queries and documents can have a length of their own. */
class PooledTexts implements TextTasks {
  readonly #folder: Pick<ModelFolder, 'tokenizer' | 'includePrompt' | 'maxLength' | 'taskLengths'>;
  readonly #limit: number | undefined;
  /** How many tokens a prompt has that is not pooled, by its words and the length limit. */
  readonly #skipped = new Map<string, Promise<number>>();

  constructor(folder: ModelFolder, limit: number | undefined) {
    const { tokenizer, includePrompt, maxLength, taskLengths } = folder; // not its weights
    this.#folder = { tokenizer, includePrompt, maxLength, taskLengths };
    this.#limit = limit;
  }

  async tokenize(
    texts: readonly string[],
    prefix: string,
    asked: number | undefined,
    task: TextTask | undefined,
  ): Promise<TokenBatch> {
    const maxLength = this.#lengthOf(asked, task);
    const batch = await this.#folder.tokenizer.encode(texts, { maxLength, prefix });
    return this.#withPrompt(batch, prefix, maxLength);
  }

  async *windowPieces(
    texts: readonly string[],
    { prefix, overlap, task, most }: Parameters<TextTasks['windowPieces']>[1],
  ): AsyncGenerator<WindowPiece, void, undefined> {
    const maxLength = this.#lengthOf(undefined, task);
    const pieces = this.#folder.tokenizer.windowPieces(texts, { maxLength, prefix, overlap }, most);
    for await (const piece of pieces)
      yield { ...piece, batch: await this.#withPrompt(piece.batch, prefix, maxLength) };
  }

  /** The batch with the number of tokens at the beginning of its rows that are not pooled. */
  async #withPrompt(batch: TokenBatch, prefix: string, maxLength: number): Promise<TokenBatch> {
    const { includePrompt = true } = this.#folder;
    if (includePrompt || prefix === '') return batch;
    return { ...batch, skipped: await this.#tokensOf(prefix, maxLength) };
  }

  /** As in sentence-transformers, the length of a task takes the place of the model's. */
  #lengthOf(asked: number | undefined, task: TextTask | undefined): number {
    if (task !== undefined) requireOneOf('task', task, ['query', 'document']);
    const { maxLength, taskLengths } = this.#folder;
    const most = this.#limit ?? maxLength;
    if (asked !== undefined) requireLimit(asked, most);
    const own = task === undefined ? null : (taskLengths?.[task] ?? null);
    return own === null ? (asked ?? most) : Math.min(own, asked ?? this.#limit ?? Infinity);
  }

  /** As sentence-transformers counts them: those of the prompt alone, without the special token behind it. */
  #tokensOf(prompt: string, maxLength: number): Promise<number> {
    const key = `${maxLength} ${prompt}`;
    const known = this.#skipped.get(key);
    if (known !== undefined) return known;
    const { tokenizer } = this.#folder;
    const counted = tokenizer.encode([prompt], { maxLength }).then(({ ids }) => {
      const last = ids.at(-1);
      const special = tokenizer.addedTokens.some((token) => token.special && token.id === last);
      return special ? ids.length - 1 : ids.length;
    });
    this.#skipped.set(key, counted);
    return counted;
  }
}
