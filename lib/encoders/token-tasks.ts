import { GradCacheError } from '../errors.js';
import { refused, requireOneOf, show } from '../options/option-values.js';
import type { LateInteraction, QueryExpansion, TextTask } from '../model-folder/late-interaction.js';
import type { TokenBatch, Tokenizer } from '../tokenizer/tokenizer.js';

/** How a model with a representation for each token makes token ids of queries and of documents. */
export class TokenTasks {
  readonly #interaction: LateInteraction;
  readonly #skipped: ReadonlySet<number>;
  /** The token of query expansion. */
  readonly #expansion: number | null;
  /** Whether expansion fills queries up at their beginning. */
  readonly #inFront: boolean;

  /**
   * @throws GradCacheError `CHECKPOINT` for a token of query expansion that the tokenizer does not have, and for expansion at the
   * beginning of a query that is not `'fixed'` or that its other tokens do not attend to
   */
  constructor(interaction: LateInteraction, tokenizer: Tokenizer) {
    this.#interaction = interaction;
    const ids = interaction.skippedWords.map((word) => tokenizer.tokenToId(word));
    this.#skipped = new Set(ids.filter((id) => id !== null)); // as in sentence-transformers, others are no token
    this.#expansion = expansionToken(interaction, tokenizer);
    this.#inFront = interaction.queryExpansion !== null && tokenizer.filling.side === 'left';
    if (this.#inFront) requireFilledInFront(interaction.queryExpansion!);
  }

  /**
   * The most tokens that the tokenizer gives for a text. As in sentence-transformers, the length of a task and that to which
   * queries are expanded take the place of the model's.
   *
   * @param asked the most tokens of a text that the caller allows; undefined: nothing is said
   * @param otherwise the model's own length
   * @throws GradCacheError `INPUT` where the caller allows fewer than queries are expanded to
   */
  lengthOf(task: TextTask | undefined, asked: number | undefined, otherwise: number): number {
    const { queryLength, documentLength, queryExpansion: expansion } = this.#interaction;
    if (task === undefined) return asked ?? otherwise;
    requireOneOf('task', task, ['query', 'document']);
    const stated = task === 'query' ? queryLength : documentLength;
    const own = stated === null ? (asked ?? otherwise) : Math.min(stated, asked ?? Infinity);
    if (task === 'document' || expansion === null) return own;
    if (asked !== undefined && asked < expansion.length)
      throw refused('maxLength', asked, `at least ${expansion.length}, to which queries are expanded,`);
    return expansion.strategy === 'fixed' ? expansion.length : Math.max(own, expansion.length);
  }

  /** Expands queries, and marks the tokens that have a representation. Without a task a text counts as a document. */
  finish(batch: TokenBatch, task: TextTask | undefined): TokenBatch {
    const expanded = task === 'query' && this.#expansion !== null ? this.#expand(batch) : batch;
    return this.#interaction.skippedIn.includes(task ?? 'document') ? this.#marked(expanded) : expanded;
  }

  #expand({ ids, offsets, truncated }: TokenBatch): TokenBatch {
    const { length, attend } = this.#interaction.queryExpansion!;
    const longer = new Int32Array(offsets.length);
    for (let k = 1; k < offsets.length; k++)
      longer[k] = longer[k - 1]! + Math.max(length, offsets[k]! - offsets[k - 1]!);
    const filled = new Int32Array(longer.at(-1)!).fill(this.#expansion!);
    for (let k = 1; k < offsets.length; k++) {
      const own = ids.subarray(offsets[k - 1], offsets[k]);
      filled.set(own, this.#inFront ? longer[k]! - own.length : longer[k - 1]);
    }
    if (attend === true) return { ids: filled, offsets: longer, truncated };
    const unattended = longer.slice(1);
    for (const k of unattended.keys())
      unattended[k] = longer[k + 1]! - longer[k]! - (offsets[k + 1]! - offsets[k]!);
    return { ids: filled, offsets: longer, truncated, unattended };
  }

  #marked(batch: TokenBatch): TokenBatch {
    if (this.#skipped.size === 0) return batch;
    const counted = new Uint8Array(batch.ids.length);
    for (const [place, id] of batch.ids.entries()) counted[place] = this.#skipped.has(id) ? 0 : 1;
    return { ...batch, counted };
  }
}

/** In sentence-transformers the tokens of a least length are then others in another batch. */
function requireFilledInFront({ strategy, attend = false }: QueryExpansion): void {
  if (strategy === 'fixed' && attend) return;
  throw new GradCacheError(
    'CHECKPOINT',
    `the query's expansion has the strategy ${show(strategy)} and attend ${show(attend)}, and the tokenizer fills texts up at their ` +
      'beginning (padding_side "left"), where "fixed" and true are possible alone. Set padding_side to "right" in ' +
      'tokenizer_config.json and train the model with it.',
  );
}

function expansionToken({ queryExpansion }: LateInteraction, tokenizer: Tokenizer): number | null {
  if (queryExpansion === null) return null;
  const { token = null } = queryExpansion;
  const word = token ?? tokenizer.filling.token;
  const id = word === null ? null : tokenizer.tokenToId(word);
  if (id !== null) return id;
  throw new GradCacheError(
    'CHECKPOINT',
    `the token of query_expansion is ${show(token)}, and the tokenizer has no ${word ?? 'mask token and none that ends a text'}: ` +
      'name one of its tokens.',
  );
}
