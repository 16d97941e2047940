import type { ChunkSize } from '../../lib/index.js';
import type { ShapeName } from './models.js';
import type { Kind } from './workload.js';

/** One way to take the step of a group. */
export interface Job {
  readonly id: string;
  /** Its name in the table, and its chunk. */
  readonly label: string;
  readonly setting: string;
  /** Seconds of one step on an H200; the budget is planned with them. */
  readonly estimate: number;
  readonly ours?: {
    readonly chunk: ChunkSize;
    readonly retain?: 'auto' | { bytes: number };
  };
  readonly peer?: {
    readonly name: 'gradcache' | 'sentence-transformers' | 'sentence-transformers-unpadded' | 'full';
    /** Sequences; tokens for the peer without padding. */
    readonly chunk: number;
    readonly compile: boolean;
    /** Compiled once for all widths, because it cuts batches to widths of its own. */
    readonly dynamic: boolean;
  };
  /** In place of the group's precision. */
  readonly precision?: 'float32' | 'tf32';
  /** The job that this one stands in for: it is run where that one fails. */
  readonly insteadOf?: string;
}

/** Jobs on the same tokens and the same shape, compared with each other. */
export interface Group {
  readonly id: string;
  readonly shape: ShapeName;
  readonly kind: Kind;
  readonly pairs: number;
  readonly dropout: number;
  /** The type of the computation. Default: bfloat16. */
  readonly precision?: 'float32';
  /** Steps timed in each round; every block of steps begins with one that is not timed, where `warm` says so. */
  readonly rounds: readonly number[];
  readonly warm: boolean;
  /** Pairs of the step that is not timed; default: all. */
  readonly warmPairs?: number;
  /** The rank of adapters, which are trained in place of the model. */
  readonly lora?: number;
  readonly jobs: readonly Job[];
}

export const GC = 'gradcache';
export const ST = 'sentence-transformers';
/** sentence-transformers at its best setting. */
export const UNPADDED = 'sentence-transformers-unpadded';

/** A step of ours by chunks of so many tokens. */
export function ours(tokens: number, estimate: number, retain?: 'auto' | { bytes: number }): Job {
  const kept = retain === undefined ? '' : retain === 'auto' ? ', all memory for graphs' : ', all graphs';
  return {
    id: `ours-${tokens}${retain === undefined ? '' : retain === 'auto' ? '-auto' : '-kept'}`,
    label: 'gradcache (this package)',
    setting: `${tokens.toLocaleString('en')} tokens${kept}`,
    estimate,
    ours: { chunk: { tokens }, ...(retain === undefined ? {} : { retain }) },
  };
}

/** What a user gets who sets no option of memory. It needs a step that is not timed. */
export function byDefault(estimate: number): Job {
  return {
    id: 'ours-default',
    label: 'gradcache (this package)',
    setting: 'automatic',
    estimate,
    ours: { chunk: 'auto' },
  };
}

/** A step of a peer. */
export function peer(
  name: NonNullable<Job['peer']>['name'],
  chunk: number,
  compile: boolean,
  estimate: number,
  dynamic = false,
): Job {
  const title = {
    gradcache: 'luyug/GradCache',
    'sentence-transformers': 'sentence-transformers cached',
    'sentence-transformers-unpadded': 'sentence-transformers cached, unpadded',
    full: 'PyTorch, not cached',
  };
  return {
    id: `${name}-${chunk}${compile ? '-compiled' : ''}`,
    label: `${title[name]}${compile ? ', compiled' : ''}`,
    setting: settingOf(name, chunk),
    estimate,
    peer: { name, chunk, compile, dynamic },
  };
}

function settingOf(name: NonNullable<Job['peer']>['name'], chunk: number): string {
  if (name === 'full') return 'whole batch';
  return `${chunk.toLocaleString('en')} ${name === UNPADDED ? 'tokens' : 'sequences'}`;
}

/** Alternates the two sides, so that whatever happens to the card meets both. */
export function alternate(mine: readonly Job[], theirs: readonly Job[]): Job[] {
  const jobs: Job[] = [];
  for (let k = 0; k < Math.max(mine.length, theirs.length); k++) {
    jobs.push(...[mine[k], theirs[k]].filter((job) => job !== undefined));
  }
  return jobs;
}

/** A job in another precision than its group. */
export function inPrecision(precision: 'float32' | 'tf32', job: Job): Job {
  return { ...job, id: `${job.id}-${precision}`, setting: `${job.setting}, ${precision}`, precision };
}

/** A job that is run where the one before it fails. */
export function instead(of: Job, job: Job): Job {
  return { ...job, insteadOf: of.id };
}
