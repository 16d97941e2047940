/*
 * Exact gradients across segments, the gradient-cache step along time. The first pass keeps only the states at the cuts. The
 * second walks from the last segment to the first: each is run again with a graph, and its backward begins with two seeds, the
 * loss and the gradient of the state that it handed on.
 */
import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireCount, requireNumber } from '../options/option-values.js';
import { CarriedCache } from './carried-cache.js';
import { disposeAll, disposeCarried } from './carried.js';
import type { Carried, SegmentPass, State } from './segment-model.js';
import type { Walk, Walked } from './walk.js';

/**
 * Which segments keep their graph, and so are run once. `'last'`: the last one, whose graph is needed first. `{ segments }`:
 * so many of the last. `{ bytes }`: as many of the last as fit, by what the model tells of its graphs.
 */
export type RetainSegments =
  | 'last'
  | {
      /** How many of the last segments. */
      readonly segments: number;
    }
  | {
      /** Memory for graphs. */
      readonly bytes: number;
    };

/** Options of {@link exactGradients}. */
export interface ExactOptions {
  /** Default: `'last'`. */
  readonly retain?: RetainSegments;
}

/** Exact gradients across the segments of a step; see {@link exactGradients}. */
export interface ExactGradients extends Required<ExactOptions> {
  /** What it is. */
  readonly kind: 'exact';
}

/**
 * The gradient through all segments of a step, as one graph over them would give it, in the memory of one segment.
 *
 * @throws GradCacheError `INPUT`
 * @example
 * ```ts
 * const training = new AcrossSegments(languageModel, { across: exactGradients() });
 * ```
 */
export function exactGradients(options: ExactOptions = {}): ExactGradients {
  checkKnown('exactGradients', options, ['retain']);
  const { retain = 'last' } = options;
  if (retain !== 'last') requireRetain(retain);
  return { kind: 'exact', retain };
}

function requireRetain(retain: unknown): void {
  if (typeof retain !== 'object' || retain === null || Object.keys(retain).length !== 1)
    throw refused('retain', retain, "'last', { segments } or { bytes }");
  const { segments, bytes } = retain as { segments?: unknown; bytes?: unknown };
  if (segments !== undefined) requireCount('retain.segments', segments, 0);
  else requireNumber('retain.bytes', bytes, { from: 0 });
}

/** Told of the gradient that reached each cut of an exact walk, first to last. It does not keep the tensors. */
export type AtCut = (index: number, before: State, gradient: State, after: State) => Promise<void>;

/** Adds the exact gradient of the segments' loss. */
export async function walkExactly(
  walk: Walk,
  first: Carried,
  retain: RetainSegments,
  atCut?: AtCut,
): Promise<Walked> {
  const count = walk.segments.length;
  const retained = howMany(walk, retain);
  // carried[k] is what segment k starts from; the first belongs to the caller, the last becomes the caller's.
  const carried: Carried[] = [first];
  const cache = new CarriedCache(count - retained);
  const kept = new Map<number, SegmentPass>();
  const gradients: State[] = [];
  try {
    for (let index = 0; index < count; index++) {
      const keep = index >= count - retained;
      const pass = await walk.forward(index, carried[index]!, keep);
      if (keep) kept.set(index, pass);
      else pass.dispose();
      const handed = walk.handOn(index, pass.after);
      // A graph forbids later writes into the block that its state is a part of.
      carried.push(index + 1 < count - retained ? cache.put(index, handed) : handed);
    }
    for (let index = count - 1; index >= 0; index--) {
      const pass = kept.get(index) ?? (await again(walk, index, carried[index]!));
      kept.set(index, pass);
      const handed = gradients[index + 1] ?? null;
      const seed = handed === null ? null : walk.back(index, handed);
      try {
        gradients[index] = await pass.backward(walk.weight, seed);
      } finally {
        if (seed !== handed) disposeAll(seed ?? []);
      }
      pass.dispose();
      kept.delete(index);
      if (atCut !== undefined) continue;
      disposeAll(handed ?? []);
      if (index + 1 < count) disposeCarried(carried[index + 1]!);
    }
    if (atCut !== undefined) {
      for (let index = 0; index < count; index++)
        await atCut(index, carried[index]!.state, gradients[index]!, carried[index + 1]!.state);
    }
    return { after: carried.pop()!, retained };
  } finally {
    for (const pass of kept.values()) pass.dispose();
    for (const state of gradients) disposeAll(state ?? []);
    for (const between of carried.slice(1)) disposeCarried(between);
    cache.dispose();
  }
}

/** A segment again, with its graph. */
async function again(walk: Walk, index: number, before: Carried): Promise<SegmentPass> {
  const pass = await walk.forward(index, before, true);
  disposeCarried(pass.after);
  return pass;
}

/** How many of the last segments keep their graphs. @throws GradCacheError `INPUT` */
function howMany(walk: Walk, retain: RetainSegments): number {
  const count = walk.segments.length;
  if (retain === 'last') return 1;
  if ('segments' in retain) return Math.min(retain.segments, count);
  let used = 0;
  let kept = 0;
  for (let index = count - 1; index >= 0; index--) {
    const bytes = walk.graphBytes(index);
    if (bytes === null)
      throw new GradCacheError(
        'INPUT',
        'retain: { bytes } needs a model that tells the bytes of its graphs; this one does not: use { segments }',
      );
    used += bytes;
    if (used > retain.bytes) break;
    kept++;
  }
  return kept;
}
