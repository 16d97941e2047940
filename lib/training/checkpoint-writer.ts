import { isFirst } from '../distributed/shared-work.js';
import type { Ranks } from '../distributed/ranks.js';
import type { ModelSnapshot } from '../model-folder/model-snapshot.js';
import type { Optimizer } from '../optim/optimizer.js';
import { checkpointFolder, pruneCheckpoints, writeCheckpoint, type TraineeState } from './checkpoint.js';
import type { SavedEvent } from './events.js';
import type { OutputLock } from './output-lock.js';

/** What checkpoints are made of, and where they go. */
export interface CheckpointParts {
  readonly output: string;
  /** The newest that are kept. */
  readonly keep: number;
  readonly trainee: {
    snapshot(): Promise<ModelSnapshot>;
    state(how: { readonly alone: boolean }): Promise<TraineeState>;
  };
  readonly optimizer: Pick<Optimizer, 'divided' | 'state'>;
  /** Null on ranks that write nothing. */
  readonly lock: OutputLock | null;
  readonly ranks: Ranks | null;
  readonly emit: (event: SavedEvent) => void;
}

/** How one checkpoint is made. */
interface Making {
  /** Whether this rank alone makes it: the others no longer take part. */
  readonly alone: boolean;
  /** Whether held-out data was to be measured after this update, and was not. */
  readonly unmeasured: boolean;
}

/**
 * Writes checkpoints while the run goes on: the run waits for a copy of the weights and of the optimizer's state in host memory,
 * and not for the disk. There is one copy at most; where the disk is slower than that, the run waits for it.
 */
export class CheckpointWriter {
  /** Updates of the newest checkpoint that was begun; null: none. */
  #newest: number | null = null;
  #writing: Promise<void> = Promise.resolve();
  #failed: { readonly error: unknown } | null = null;

  constructor(readonly parts: CheckpointParts) {}

  get newest(): number | null {
    return this.#newest;
  }

  /**
   * Copies the run as it is after `step` updates, and begins to write the copy. All ranks call it together, unless one is alone.
   *
   * @throws the error of a checkpoint before that could not be written
   */
  async begin(step: number, { alone, unmeasured }: Making): Promise<void> {
    const { trainee, optimizer, ranks } = this.parts;
    const started = performance.now();
    await this.finish();
    const { state, ...tensors } = await trainee.state({ alone });
    const divided = optimizer.divided ? await optimizer.state() : null;
    if (isFirst(ranks)) {
      const model = await trainee.snapshot();
      const rest = { state: { step, ...state, ...(unmeasured && { unmeasured }) }, ...tensors };
      const checkpoint = { ...rest, optimizer: divided ?? (await optimizer.state()) };
      const waited = (performance.now() - started) / 1000;
      this.#writing = this.#write(step, (folder) =>
        writeCheckpoint(folder, (path) => model.save(path), checkpoint),
      )
        .then((folder) => this.parts.emit({ type: 'saved', step, folder, waited }))
        .catch((error: unknown) => void (this.#failed = { error })); // that of a listener too: nobody waits here
    }
    this.#newest = step;
  }

  /** Between two updates. @throws the error of a checkpoint that could not be written */
  check(): void {
    if (this.#failed === null) return;
    const { error } = this.#failed;
    this.#failed = null; // told once
    throw error;
  }

  /** Waits until all that was begun is written. @throws the error of one that could not be */
  async finish(): Promise<void> {
    await this.#writing;
    this.check();
  }

  /** At the end of a run: one that was killed may have left more checkpoints than are kept. */
  async prune(): Promise<void> {
    const { output, keep } = this.parts;
    await pruneCheckpoints(output, keep);
  }

  async #write(step: number, write: (folder: string) => Promise<void>): Promise<string> {
    const { output, lock } = this.parts;
    const folder = checkpointFolder(output, step);
    await lock?.require();
    await write(folder);
    await this.prune();
    return folder;
  }
}
