import { GradCacheError } from '../errors.js';
import { refused, requireOneOf, show } from '../options/option-values.js';
import type { LateInteraction, TextTask } from '../model-folder/late-interaction.js';
import type { TokenBatch, Tokenizer } from '../tokenizer/tokenizer.js';

/** Tokens by which models are trained to fill gaps, in the order in which they are looked for. */
const MASK_TOKENS = ['[MASK]', '<mask>'];

/** How a model with a representation for each token makes token ids of queries and of documents. */
export class TokenTasks {
  readonly #interaction: LateInteraction;
  readonly #skipped: ReadonlySet<number>;
  /** The token of query expansion. */
  readonly #expansion: number | null;

  /** @throws GradCacheError `CHECKPOINT` for a token of query expansion that the tokenizer does not have */
  constructor(interaction: LateInteraction, tokenizer: Tokenizer) {
    this.#interaction = interaction;
    const ids = interaction.skippedWords.map((word) => tokenizer.tokenToId(word));
    this.#skipped = new Set(ids.filter((id) => id !== null)); // as in sentence-transformers, others are no token
    this.#expansion = expansionToken(interaction, tokenizer);
  }

  /**
   * The most tokens that the tokenizer gives for a text.
   *
   * @param limit the most tokens of a text in this call
   * @throws GradCacheError `INPUT` for a limit that query expansion exceeds
   */
  lengthOf(task: TextTask | undefined, limit: number): number {
    const { queryLength, documentLength, queryExpansion: expansion } = this.#interaction;
    if (task === undefined) return limit;
    requireOneOf('task', task, ['query', 'document']);
    const own = Math.min(limit, (task === 'query' ? queryLength : documentLength) ?? Infinity);
    if (task === 'document' || expansion === null) return own;
    if (limit < expansion.length)
      throw refused('maxLength', limit, `at least ${expansion.length}, to which queries are expanded,`);
    return expansion.strategy === 'fixed' ? expansion.length : Math.max(own, expansion.length);
  }

  /** Expands queries, and marks the tokens that have a representation. Without a task a text counts as a document. */
  finish(batch: TokenBatch, task: TextTask | undefined): TokenBatch {
    const expanded = task === 'query' && this.#expansion !== null ? this.#expand(batch) : batch;
    return this.#interaction.skippedIn.includes(task ?? 'document') ? this.#marked(expanded) : expanded;
  }

  #expand({ ids, offsets, truncated }: TokenBatch): TokenBatch {
    const { length } = this.#interaction.queryExpansion!;
    const longer = new Int32Array(offsets.length);
    for (let k = 1; k < offsets.length; k++)
      longer[k] = longer[k - 1]! + Math.max(length, offsets[k]! - offsets[k - 1]!);
    const filled = new Int32Array(longer.at(-1)!).fill(this.#expansion!);
    for (let k = 1; k < offsets.length; k++)
      filled.set(ids.subarray(offsets[k - 1], offsets[k]), longer[k - 1]);
    return { ids: filled, offsets: longer, truncated };
  }

  #marked(batch: TokenBatch): TokenBatch {
    if (this.#skipped.size === 0) return batch;
    const counted = new Uint8Array(batch.ids.length);
    for (const [place, id] of batch.ids.entries()) counted[place] = this.#skipped.has(id) ? 0 : 1;
    return { ...batch, counted };
  }
}

function expansionToken({ queryExpansion }: LateInteraction, tokenizer: Tokenizer): number | null {
  if (queryExpansion === null) return null;
  const { token = null } = queryExpansion;
  const candidates = token === null ? MASK_TOKENS : [token];
  const id = candidates.map((each) => tokenizer.tokenToId(each)).find((each) => each !== null);
  if (id !== undefined) return id;
  throw new GradCacheError(
    'CHECKPOINT',
    `the token of query_expansion is ${show(token)}, and the tokenizer has no ${candidates.join(' or ')}: name one of its tokens`,
  );
}
