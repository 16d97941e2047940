import { table } from '../support/results.js';
import type { Measured } from './train.js';

/** What the runs of a way came to, a run a seed. */
export interface Series {
  readonly name: string;
  readonly pairs: number;
  readonly updates: number;
  readonly lr: number;
  readonly runs: readonly (Measured & { readonly seconds: number })[];
}

export const MEASURES = { mrr10: 'MRR@10', recall10: 'recall@10', recall1: 'recall@1' } as const;
export type Measure = keyof typeof MEASURES;
const measures = Object.keys(MEASURES) as Measure[];

/** Runs that differ by rounding alone end so near to one another. */
const ROUNDING = 0.005;

/** That one way is better than another, or equal to it. */
export interface Claim {
  readonly better: Series;
  readonly worse: Series;
  readonly equal?: boolean;
  /** What both have as much of. */
  readonly at: string;
}

/** The scores of all ways. */
export function scoresTable(series: readonly Series[]): string {
  return table(
    ['', 'updates', 'pairs an update', 'learning rate', ...Object.values(MEASURES), 'CPU, s'],
    series.map(({ name, updates, pairs, lr, runs }) => [
      name,
      updates,
      pairs,
      lr,
      ...measures.map((measure) => spread(runs.map((run) => run[measure]))),
      Math.round(mean(runs.map(({ seconds }) => seconds))),
    ]),
  );
}

/** Each claim, by how much it holds, and whether it holds with every seed. */
export function claimsTable(claims: readonly Claim[]): string {
  return table(
    ['claim', ...Object.values(MEASURES).map((name) => `${name}, difference`), 'shown'],
    claims.map((claim) => [
      `${claim.better.name} ${claim.equal ? '=' : '>'} ${claim.worse.name}, at equal ${claim.at}`,
      ...measures.map((measure) => spread(differences(claim, measure), true)),
      verdict(claim),
    ]),
  );
}

/** Whether a claim holds, for every seed and by every measure. */
export function verdict(claim: Claim): string {
  const seeds = claim.better.runs.length;
  if (claim.equal) {
    const largest = Math.max(...measures.flatMap((measure) => differences(claim, measure).map(Math.abs)));
    return largest <= ROUNDING ? `yes: at most ${figure(largest)}` : `no: up to ${figure(largest)}`;
  }
  const held = measures.map((measure) => differences(claim, measure).filter((value) => value > 0).length);
  const told = measures.map((measure, place) => `${MEASURES[measure]} ${held[place]}`).join(', ');
  return held.every((count) => count === seeds)
    ? `yes: all ${seeds} seeds by each measure`
    : `no; seeds for which it holds: ${told} of ${seeds}`;
}

/** Seed by seed: both runs began with the same weights and saw pairs in the same order. */
function differences({ better, worse }: Claim, measure: Measure): number[] {
  return better.runs.map((run, seed) => run[measure] - worse.runs[seed]![measure]);
}

function spread(values: readonly number[], signed = false): string {
  const average = mean(values);
  const variance = mean(values.map((value) => (value - average) ** 2));
  const deviation = Math.sqrt((variance * values.length) / Math.max(1, values.length - 1));
  return `${signed && average >= 0 ? '+' : ''}${figure(average)} ± ${figure(deviation)}`;
}

export const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;
const figure = (value: number): string => value.toFixed(4);
