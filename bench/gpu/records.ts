import type { BlockResult } from './ours.js';
import { median } from '../support/median.js';

/** What the bench writes, one line of JSON each, as it happens. */
export type Record =
  | {
      readonly record: 'machine';
      readonly date: string;
      readonly command: string;
      readonly gpu: string;
      readonly driver: string;
      readonly node: string;
      readonly peers: { [name: string]: string | null };
      readonly teraflops: number;
    }
  | ({
      readonly record: 'block';
      readonly group: string;
      readonly job: string;
      readonly round: number;
    } & Partial<BlockResult> & {
        readonly padded?: number;
        readonly error?: string;
      })
  | ({ readonly record: 'check'; readonly check: string; readonly title: string; readonly error?: string } & {
      readonly [name: string]: unknown;
    })
  | { readonly record: 'note'; readonly text: string };

export type BlockRecord = Extract<Record, { record: 'block' }>;
export type CheckRecord = Extract<Record, { record: 'check' }>;

/** All blocks of one job together. */
export interface Measured {
  readonly seconds: number;
  readonly steps: number;
  readonly rate: number;
  readonly peak: number;
  readonly last: BlockRecord;
}

/** The median step of a job over all rounds, or why there is none. */
export function measured(records: readonly Record[], group: string, job: string): Measured | string | null {
  const blocks = records.filter(
    (entry): entry is BlockRecord => entry.record === 'block' && entry.group === group && entry.job === job,
  );
  const done = blocks.filter(({ error }) => error === undefined);
  const last = done.at(-1);
  if (last === undefined) return blocks.at(-1)?.error ?? null;
  const all = done.flatMap(({ seconds = [] }) => seconds);
  const seconds = median(all);
  return {
    seconds,
    steps: all.length,
    rate: last.tokens! / seconds,
    peak: Math.max(...done.map(({ peak = 0 }) => peak)),
    last,
  };
}
