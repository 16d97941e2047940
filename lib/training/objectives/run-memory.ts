import { MomentumEncoder } from '../../encoders/momentum-encoder.js';
import type { TextEncoder } from '../../encoders/text-encoder.js';
import { crossBatchMemory, type CrossBatchMemory } from '../../losses/cross-batch-memory.js';
import { masksDuplicates } from '../../losses/loss-kinds.js';
import type { LossOptions, LossWithGradients } from '../../losses/loss.js';
import type { StoredTensor } from '../../safetensors/safetensors.js';
import { toStored } from '../../safetensors/stored-tensor.js';
import type { TokenBatch } from '../../tokenizer/tokenizer.js';
import type { FilledTrainConfig } from '../read-config.js';
import type { Resumed } from '../resume.js';
import { ofRows, type Texts } from './objective.js';
import { openTextEncoder } from './open-model.js';
import { identitiesOf, textsOfRows } from './row-identities.js';
import type { BatchIds } from '../../data/row-ids.js';
import { restore } from '../../safetensors/restore.js';

const PREFIX = 'momentum.';

/**
 * Opens the memory of a run: it keeps representations of the second column, the positives, of earlier batches.
 *
 * @param resumed the checkpoint that the run goes on from, or null
 * @returns null where the configuration has none
 */
export async function openMemory(
  config: FilledTrainConfig,
  { loss, model, resumed }: { loss: LossWithGradients; model: TextEncoder; resumed: Resumed | null },
): Promise<RunMemory | null> {
  if (config.memory === undefined) return null;
  const { capacity, start, momentum } = config.memory;
  // The memory always knows rows by their texts and ids. The loss is told of them where it is to mask duplicates.
  const passIds = masksDuplicates(config.loss);
  if (momentum === undefined) {
    const rows = crossBatchMemory(loss, { capacity, start, tower: 1, passIds });
    if (resumed !== null) rows.loadState(resumed.checkpoint.loss);
    return new RunMemory(rows, null, null);
  }
  const tower = config.columns.length;
  const rows = crossBatchMemory(loss, { capacity, start, tower, joins: false, passIds });
  const copy = await openTextEncoder({ ...config, dropout: 0 }, resumed?.folder ?? null);
  try {
    const encoder = new MomentumEncoder(model, copy, { momentum });
    if (resumed !== null) {
      rows.loadState(resumed.checkpoint.loss);
      restore(named(encoder), resumed.checkpoint.loss);
    }
    return new RunMemory(rows, encoder, copy, resumed?.checkpoint.state.followed);
  } catch (error) {
    copy.dispose();
    throw error;
  }
}

/** The memory of a run, and the encoder that fills it if that is not the trained one. */
export class RunMemory {
  /** Whether the slow encoder has followed the last update already: a step that was interrupted is made again. */
  #followed: boolean;

  constructor(
    readonly rows: CrossBatchMemory,
    readonly encoder: MomentumEncoder<TokenBatch> | null,
    readonly copy: TextEncoder | null,
    followed = false,
  ) {
    this.#followed = followed;
  }

  get followed(): boolean {
    return this.#followed;
  }

  /** Encoders of towers behind those of the columns. */
  encoders(): MomentumEncoder<TokenBatch>[] {
    return this.encoder === null ? [] : [this.encoder];
  }

  /** The batches of all towers, from those of the columns. */
  inputs(columns: readonly TokenBatch[]): TokenBatch[] {
    return this.encoder === null ? [...columns] : [...columns, columns[1]!];
  }

  /** Keyword arguments of the loss for some rows of a batch, or all. A row is known by its texts and ids: one that shares one with the batch is no negative. */
  options(texts: Texts, ids: BatchIds, rows: Uint32Array | undefined): LossOptions {
    return { ids: this.#identities(texts, ids, rows) };
  }

  /** How many of its rows are candidates of a whole batch, beside the batch's own. */
  joining(texts: Texts, ids: BatchIds): number {
    return this.rows.joining(this.#identities(texts, ids, undefined));
  }

  #identities(texts: Texts, ids: BatchIds, rows: Uint32Array | undefined) {
    const own = textsOfRows(Object.values(texts).map((column) => ofRows(column, rows)));
    return identitiesOf(own, ids, rows);
  }

  /** Before each step: the slow encoder follows the update of the step before. At the first step nothing has changed. */
  async follow(): Promise<void> {
    if (!this.#followed) await this.encoder?.update();
    this.#followed = true;
  }

  /** After each step that came to its end. */
  stepped(): void {
    this.#followed = false;
  }

  async state(): Promise<Map<string, StoredTensor>> {
    const stored = await this.rows.state();
    if (this.encoder !== null)
      for (const { name, tensor } of named(this.encoder)) stored.set(name, await toStored(tensor));
    return stored;
  }

  dispose(): void {
    this.rows.dispose();
    this.copy?.dispose();
  }
}

const named = (encoder: MomentumEncoder<TokenBatch>) =>
  encoder.weights().map((parameter) => ({ ...parameter, name: PREFIX + parameter.name }));
