/**
 * Steps over segments as one rank of several, started by segments.test.ts, beside the same in one process. The first argument
 * names a file with runs of `trainLanguage`, which follow.
 */
import { readFileSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import {
  AcrossSegments,
  AdamW,
  alternating,
  GradCacheError,
  ModuleSegmentModel,
  Ranks,
  syntheticGradients,
  trainLanguage,
  type Across,
  type LanguageTrainConfig,
  type LanguageTrainEvent,
  type NewLanguageModel,
  type Segment,
  type SegmentModel,
  type SegmentStepOptions,
} from '../../lib/index.js';
import { fromStored } from '../../lib/safetensors/stored-tensor.js';
import { rowsOfRank, rowsOfSegment } from '../../lib/language/rows-of-ranks.js';
import { movedModel, numbersOf, randomSegments, TinyLanguageModel } from '../language/support.js';

const ROWS = 5;
const ranks = (await Ranks.join({ timeout: 30 }))!;
const last = ranks.rank === ranks.size - 1;
const own = rowsOfRank(ranks, ROWS);

/** Steps of two segments. Some end a document, on some rank all of them, and one step has no target on the first rank. */
const ENDS = [
  [[1], []],
  [[0, 1], [2]],
  [[], [3, 4]],
  [[0, 2], [4]],
];
const steps = ENDS.map((ends, step) =>
  randomSegments([3, 2], { seed: step + 1, rows: ROWS, ends }).map((segment) => ({
    ...segment,
    start: segment.start! + 5 * step,
    ...(step === 2 && {
      targets: segment.targets.map((target, k) => (k < 2 * (segment.targets.length / ROWS) ? -1 : target)),
    }),
  })),
);
const ofRank = (segments: readonly Segment[]): Segment[] => segments.map((each) => rowsOfSegment(each, own));

const native = (settings: Partial<NewLanguageModel>) => (): SegmentModel =>
  movedModel({ cell: 'sru', vocabulary: 7, width: 6, layers: 2, ...settings }, 'float64');
const module = (): SegmentModel => new ModuleSegmentModel(new TinyLanguageModel());

const CASES: Readonly<Record<string, readonly [() => SegmentModel, Across]>> = {
  truncated: [native({ activationPenalty: 2, slownessPenalty: 1 }), 'none'],
  exact: [native({ cell: 'lstm' }), 'exact'],
  'SRU++ with its memory': [native({ cell: 'sru++', width: 12, projected: 4, memory: 4 }), 'none'],
  synthetic: [native({}), syntheticGradients({ factor: 1, auxiliary: 0.5 })],
  recurrent: [native({ layers: 1 }), syntheticGradients({ synthesiser: { kind: 'recurrent', hidden: 4 } })],
  alternating: [module, alternating({ restarts: { at: [2] }, real: 'exact' })],
  'a module': [module, 'exact'],
};

/** How far numbers are apart, relative. What is no number does not pass through JSON. */
const apart = (some: readonly number[], others: readonly number[]): number => {
  const error =
    Math.hypot(...some.map((value, k) => value - others[k]!)) / Math.max(Math.hypot(...others), 1e-300);
  return some.length === others.length && Number.isFinite(error) ? error : 1e9;
};

class Training {
  readonly across: AcrossSegments;
  readonly optimizer: AdamW;

  constructor(
    readonly model: SegmentModel,
    across: Across,
    among: Ranks | null,
  ) {
    this.across = new AcrossSegments(model, { across, seed: 3, ranks: among });
    this.optimizer = new AdamW(this.across.parameters(), { lr: 0.02 });
  }

  gradients(): number[] {
    return numbersOf(this.across.parameters().map(({ tensor }) => tensor.grad!));
  }

  weights(): number[] {
    return numbersOf(this.across.parameters().map(({ tensor }) => tensor));
  }

  async state(): Promise<number[]> {
    const state = [...(await this.across.state())].sort(([a], [b]) => (a < b ? -1 : 1));
    return state.flatMap(([, tensor]) => numbersOf([fromStored(tensor)]));
  }
}

/** Four steps, of which the second and third add up; after the second a state is loaded anew. */
async function compare([make, across]: readonly [() => SegmentModel, Across]): Promise<
  Record<string, number>
> {
  const alone = new Training(make(), across, null);
  let shared = new Training(make(), across, ranks);
  const found = { gradient: 0, loss: 0, state: 0, weights: 0, tokens: 0, norm: 0 };
  for (const [place, segments] of steps.entries()) {
    const [one, all] = [await alone.across.step(segments), await shared.across.step(ofRank(segments))];
    const gradients = alone.gradients();
    found.norm = Math.max(found.norm, Math.hypot(...gradients));
    found.gradient = Math.max(found.gradient, apart(shared.gradients(), gradients));
    found.loss = Math.max(
      found.loss,
      apart([all.loss, all.synthesiser?.loss ?? 0], [one.loss, one.synthesiser?.loss ?? 0]),
    );
    found.tokens += Math.abs(all.tokens - one.tokens);
    if (place !== 1) await Promise.all([alone.optimizer.step(), shared.optimizer.step()]);
    if (place === 2) {
      const next = new Training(shared.model, across, ranks);
      next.optimizer.loadState(await shared.optimizer.state());
      next.across.loadState(await alone.across.state());
      shared = next;
    }
    found.state = Math.max(found.state, apart(await shared.state(), await alone.state()));
  }
  found.weights = apart(shared.weights(), alone.weights());
  return found;
}

const failureOf = (error: unknown): unknown => {
  const { code, message } = error as GradCacheError;
  return { code, message };
};

/** A model whose first segments fail on the last rank. */
function failing(model: SegmentModel, error: Error): SegmentModel {
  let left = last ? 1 : 0;
  return {
    device: model.device,
    parameters: () => model.parameters(),
    initialState: (rows) => model.initialState(rows),
    forwardSegment: (...args) => (left-- > 0 ? Promise.reject(error) : model.forwardSegment(...args)),
  };
}

/** A step that fails on one rank, and the next one: what is told, and how far gradients and state are from before and from one process. */
async function fail(options: () => SegmentStepOptions, error?: Error): Promise<unknown> {
  const across = syntheticGradients({ factor: 1 });
  const alone = new Training(native({})(), across, null);
  const model = native({})();
  const shared = new Training(model, across, ranks);
  await alone.across.step(steps[0]!);
  await shared.across.step(ofRank(steps[0]!));
  const before = [shared.gradients(), await shared.state()] as const;
  const broken = error === undefined ? shared : new Training(failing(model, error), across, ranks);
  if (broken !== shared) broken.across.loadState(await shared.across.state());
  const failure: unknown = await broken.across.step(ofRank(steps[1]!), options()).catch(failureOf);
  const kept = apart(shared.gradients(), before[0]) + apart(await broken.state(), before[1]);
  await alone.across.step(steps[1]!);
  await broken.across.step(ofRank(steps[1]!));
  return { failure, kept, next: apart(shared.gradients(), alone.gradients()) };
}

async function refuse(
  segments: (own: Segment[]) => Segment[],
  options: SegmentStepOptions = {},
): Promise<unknown> {
  const training = new Training(native({})(), 'none', ranks);
  return training.across.step(segments(ofRank(steps[0]!)), options).catch(failureOf);
}

/** A step of a model that cannot tell its parameters on the last rank. */
async function unready(): Promise<unknown> {
  const model = native({})();
  const { device } = model;
  const parameters = (): never => {
    throw new GradCacheError('DISPOSED', 'it is gone');
  };
  const gone: SegmentModel = {
    device,
    parameters,
    initialState: (rows) => model.initialState(rows),
    forwardSegment: (...args) => model.forwardSegment(...args),
  };
  const across = new AcrossSegments(last ? gone : model, { across: 'none', ranks });
  return across.step(ofRank(steps[0]!)).catch(failureOf);
}

/** A run of one rank; before it, a checkpoint may be copied. */
interface LanguageRun {
  readonly config: LanguageTrainConfig;
  readonly copy?: readonly [from: string, to: string];
}

async function train({ config, copy }: LanguageRun): Promise<unknown> {
  if (copy !== undefined)
    await ranks.agree('copying', async () => {
      if (ranks.rank === 0) await cp(copy[0], copy[1], { recursive: true });
    });
  const events: LanguageTrainEvent[] = [];
  try {
    await trainLanguage(config, { ranks, onEvent: (event) => events.push(event) });
    return { events };
  } catch (error) {
    return { ...(failureOf(error) as object), events };
  }
}

const told: Record<string, unknown> = { cases: {}, runs: [] };
for (const [name, each] of Object.entries(CASES))
  (told.cases as Record<string, unknown>)[name] = await compare(each);
told.failed = await fail(() => ({}), new GradCacheError('OUT_OF_MEMORY', 'no room'));
told.aborted = await fail(() => (last ? { signal: AbortSignal.abort() } : {}));
told.lengths = await refuse((segments) => (last ? segments.slice(0, 1) : segments));
told.weights = await refuse((segments) => segments, { weight: last ? 0.5 : 1 });
told.models = await new Training(native({ width: last ? 6 : 8 })(), 'none', ranks).across
  .step(ofRank(steps[0]!))
  .catch(failureOf);
told.wrong = await refuse((segments) => (last ? [] : segments));
told.unready = await unready();
const runs = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as LanguageRun[][];
for (const run of runs) (told.runs as unknown[]).push(await train(run[ranks.rank] ?? run[0]!));
await ranks.close();
console.log(JSON.stringify(told));
