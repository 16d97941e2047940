import { basename } from 'node:path';
import { isJsonObject } from '../files/strict-json.js';
import type { Hardest } from '../evaluation/hardest.js';
import type { StoredHardest } from '../training/hardest-file.js';
import { Series } from './series.js';

/** What the events of steps tell, by the name of the quantity. */
export const STEP_QUANTITIES = [
  'loss',
  'lr',
  'gradNorm',
  'tokensPerSecond',
  'pairsPerSecond',
  'peakMemory',
  'temperature',
] as const;

/** A quantity that each step has. */
export type StepQuantity = (typeof STEP_QUANTITIES)[number];

/** A score over the evaluations of a run. */
export interface ScoreRecord {
  readonly series: Series;
  /** The first and the last value, and the best with its step. */
  readonly first: { readonly step: number; readonly value: number };
  last: { readonly step: number; readonly value: number };
  best: { readonly step: number; readonly value: number };
}

/** Messages that are kept; the others are counted. */
const MESSAGES = 10;

/** Messages of a kind: the first ten, and how many there were. */
export class Messages {
  readonly first: string[] = [];
  count = 0;

  add(message: string): void {
    this.count++;
    if (this.first.length < MESSAGES) this.first.push(message);
  }
}

/**
 * What a page shows of a run, put together from its events, live or from metrics.jsonl. Its memory is bounded. What an event
 * of another version lacks, or has in another type, is left out.
 */
export class RunRecord {
  readonly steps = new Map<StepQuantity, Series>();
  readonly scores = new Map<string, ScoreRecord>();
  readonly notes = new Messages();
  readonly skipped = new Messages();
  /** Facts of the start: parameters, device, columns and the like. */
  start: Readonly<Record<string, unknown>> = {};
  /** All settings; empty where the run does not tell them. */
  settings: Readonly<Record<string, unknown>> = {};
  /** What the last evaluation found hardest, and after which update. */
  hardest: StoredHardest | undefined;
  /** The last update, and all that there are to be. */
  step = 0;
  planned: number | undefined;
  /** The finished model was written. */
  isFinished = false;
  /** Estimated seconds for the remaining steps; undefined where it is not told. */
  secondsLeft: number | undefined;
  /** Totals over all updates. */
  readonly totals = { pairs: 0, tokens: 0, truncated: 0, maskedRows: 0, seconds: 0 };
  /** Milliseconds since 1970, by the lines of metrics.jsonl or the clock. */
  begun: number | undefined;
  /** Seconds in which the run ran, pauses before a resume left out. */
  seconds = 0;
  #lastTime: number | undefined;

  constructor(readonly name: string) {}

  /**
   * Takes an event of a run.
   *
   * @param time when it came, in milliseconds since 1970
   */
  add(event: unknown, time: number | undefined): void {
    if (!isJsonObject(event)) return;
    this.#clock(event.type === 'start', time);
    switch (event.type) {
      case 'start':
        return this.#begin(event);
      case 'step':
        return this.#update(event);
      case 'evaluation':
        return this.#evaluation(event);
      case 'saved': {
        const { folder } = event;
        if (typeof folder === 'string' && basename(folder) === 'model') this.isFinished = true;
        return;
      }
      case 'skipped':
        return typeof event.message === 'string' ? this.skipped.add(event.message) : undefined;
      case 'note':
        return typeof event.message === 'string' ? this.notes.add(event.message) : undefined;
    }
  }

  #clock(begins: boolean, time: number | undefined): void {
    if (time === undefined) return;
    this.begun ??= time;
    // The time between an interruption and the resume is no time of the run.
    if (!begins && this.#lastTime !== undefined) this.seconds += Math.max(0, time - this.#lastTime) / 1000;
    this.#lastTime = time;
  }

  #begin(event: Readonly<Record<string, unknown>>): void {
    const { settings, steps, done: _, ...facts } = event;
    this.start = facts;
    this.settings = isJsonObject(settings) ? settings : {};
    this.planned = numberOf(steps);
    this.isFinished = false;
  }

  #update(event: Readonly<Record<string, unknown>>): void {
    const step = numberOf(event.step);
    if (step === undefined) return;
    this.step = step;
    this.planned = numberOf(event.steps) ?? this.planned;
    this.secondsLeft = numberOf(event.secondsLeft);
    for (const name of STEP_QUANTITIES) {
      const value = numberOf(event[name]);
      if (value === undefined) continue;
      const series = this.steps.get(name) ?? new Series();
      this.steps.set(name, series);
      series.add(step, value);
    }
    for (const name of ['pairs', 'tokens', 'truncated', 'maskedRows', 'seconds'] as const)
      this.totals[name] += numberOf(event[name]) ?? 0;
  }

  #evaluation({ step: given, scores, hardest }: Readonly<Record<string, unknown>>): void {
    const step = numberOf(given);
    if (step === undefined || !isJsonObject(scores)) return;
    for (const [name, score] of Object.entries(scores)) {
      const value = numberOf(score);
      if (value === undefined) continue;
      const at = { step, value };
      const before = this.scores.get(name);
      const record = before ?? { series: new Series(), first: at, last: at, best: at };
      this.scores.set(name, record);
      record.series.add(step, value);
      record.last = at;
      if (isBetter(name, value, record.best.value)) record.best = at;
    }
    if (hardest !== undefined) this.hardest = { ...(hardest as Hardest), step };
  }
}

/** Whether a value of a score is better than another. Losses and errors are better when lower. */
export function isBetter(name: string, value: number, than: number): boolean {
  return lowerIsBetter(name) ? value < than : value > than;
}

function lowerIsBetter(name: string): boolean {
  return /(^|[./_-])(loss|mse|perplexity|bits\w*|\w+-active-dims)$/i.test(name.replace(/\/\d+$/, ''));
}

/** A finite number, or undefined. */
export function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}
