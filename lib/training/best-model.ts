import { cp, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GradCacheError } from '../errors.js';
import { ifAbsent, onFiles } from '../files/file-error.js';
import { writeJson } from '../files/write-json.js';
import type { ModelSnapshot } from '../model-folder/model-snapshot.js';
import { replaceModel } from '../model-folder/write-model-folder.js';
import { refuse } from '../options/fields.js';
import type { BestMeasurement } from './events.js';
import { eventsOf } from './metrics.js';

type Scores = Readonly<Record<string, number>>;

/** What decides which model of a run is the best, and when a run ends. */
export interface BestSettings {
  readonly best?: string | undefined;
  readonly patience?: number | undefined;
}

/** Whether a score is better the lower it is: losses and squared errors. */
export function isLowerBetter(score: string): boolean {
  return /(^|\.)(loss|mse)$/.test(score);
}

/** Where a run keeps its best model until it ends. */
export function bestFolder(output: string): string {
  return join(output, 'best');
}

const bestFile = (output: string): string => join(output, 'best.json');

/** @throws SettingError for a score that held-out data does not give. @param names undefined where none is known beforehand */
export function requireBest({ best }: BestSettings, names: readonly string[] | undefined): void {
  if (best === undefined || names === undefined || names.includes(best)) return;
  throw refuse('config.evaluation.best', best, `one of ${names.join(', ')}`);
}

/** What an output folder tells of the measurements before. */
interface BestState {
  readonly best: BestMeasurement | null;
  /** Measurements since the best one. */
  readonly waited: number;
  /** The scores before the first update. */
  readonly before: Scores | null;
}

/**
 * The best model of a run by a score, and for how many measurements there was none better. It lies in the folder `best`, which
 * is never pruned, and beside it `best.json` says what it scored. A measurement before the first update does not count.
 */
export class BestModel {
  #best: BestMeasurement | null;
  #waited: number;

  private constructor(
    readonly output: string,
    readonly settings: BestSettings,
    readonly known: BestState,
  ) {
    this.#best = known.best;
    this.#waited = known.waited;
  }

  /** @param done updates made before: a new run begins with nothing */
  static async open(output: string, settings: BestSettings, done: number): Promise<BestModel> {
    const measured = done === 0 ? [] : (await measurementsOf(output)).filter(({ step }) => step <= done);
    const before = measured.find(({ step }) => step === 0)?.scores ?? null;
    const best = done === 0 || settings.best === undefined ? null : await readBest(output);
    if (best === null || best.score !== settings.best)
      return new BestModel(output, settings, { best: null, waited: 0, before });
    const later = measured.filter(({ step }) => step > best.step);
    return new BestModel(output, settings, { best, waited: later.length, before });
  }

  /** From what another rank has read. */
  static of(output: string, settings: BestSettings, known: BestState): BestModel {
    return new BestModel(output, settings, known);
  }

  get best(): BestMeasurement | null {
    return this.#best;
  }

  /** Why the run ends here; null: it does not. */
  get end(): string | null {
    const { best: score, patience } = this.settings;
    if (patience === undefined || this.#best === null || this.#waited < patience) return null;
    return (
      `ended early: ${score} was best after step ${this.#best.step}, with ${this.#best.scores[this.#best.score]}, and ` +
      `${this.#waited === 1 ? 'the measurement since is' : `the ${this.#waited} measurements since are`} no better (evaluation.patience)`
    );
  }

  /** Notes a measurement. @returns whether it is the best so far, and the model to be kept */
  note(step: number, scores: Scores): boolean {
    const { best: score } = this.settings;
    if (score === undefined || step === 0) return false;
    const value = scores[score];
    if (value === undefined)
      throw refuse('config.evaluation.best', score, `one of ${Object.keys(scores).join(', ')}`);
    const before = this.#best?.scores[score];
    // A correlation of equal numbers, or a measure of the program, can be NaN: nothing would ever be better than that.
    const better =
      !Number.isNaN(value) &&
      (before === undefined || (isLowerBetter(score) ? value < before : value > before));
    if (better) this.#best = { step, score, scores };
    this.#waited = better ? 0 : this.#waited + 1;
    return better;
  }

  /** Keeps the model of the measurement that was noted last. @returns its folder */
  async keep(model: ModelSnapshot): Promise<string> {
    const folder = bestFolder(this.output);
    await model.save(folder);
    await writeJson(bestFile(this.output), this.#best);
    return folder;
  }

  /** Writes a copy of the best model. */
  async copyTo(folder: string): Promise<void> {
    const from = bestFolder(this.output);
    await replaceModel(folder, (fresh) =>
      onFiles('INPUT', from, 'copied', () => cp(from, fresh, { recursive: true })),
    );
  }
}

/** The best measurement that an output folder tells of; null where it tells of none. @throws GradCacheError `CHECKPOINT` */
export async function readBest(output: string): Promise<BestMeasurement | null> {
  const path = bestFile(output);
  const text = await onFiles('INPUT', path, 'read', () => readFile(path, 'utf8').catch(ifAbsent(null)));
  if (text === null) return null;
  try {
    const value = JSON.parse(text) as Partial<BestMeasurement> | null;
    const { step, score, scores } = value ?? {};
    if (typeof step === 'number' && typeof score === 'string' && typeof scores?.[score] === 'number')
      return { step, score, scores };
  } catch {
    // Told below, with what is no measurement.
  }
  throw new GradCacheError(
    'CHECKPOINT',
    `${path} is damaged: it does not say what the best model scored. Remove it: the run then looks for the best anew.`,
  );
}

/** The measurements that the metrics of a run tell of. */
export async function measurementsOf(
  output: string,
): Promise<{ readonly step: number; readonly scores: Scores }[]> {
  const events = await eventsOf(output);
  return events.flatMap((event) => (event.type === 'evaluation' ? [event] : []));
}
