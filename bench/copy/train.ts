import { Random } from '../../lib/data/random.js';
import {
  AcrossSegments,
  AdamW,
  alternating,
  LanguageModel,
  syntheticGradients,
  threads,
  type Across,
} from '../../lib/index.js';
import { episode, FIRST_LEVEL, harder, stepsOf, VOCABULARY, type TaskName } from './tasks.js';

export const METHODS = [
  'truncated',
  'alternating',
  'synthetic',
  'synthetic with auxiliary',
  'exact',
] as const;
export type MethodName = (typeof METHODS)[number];

/** One run. */
export interface Configuration {
  readonly task: TaskName;
  readonly method: MethodName;
  /** Time steps of a segment. */
  readonly length: number;
  readonly seed: number;
  /** Episodes of `rows` sequences; the same for every method. */
  readonly episodes: number;
  /** The run ends after so many seconds, solved or not. */
  readonly seconds: number;
  readonly rows: number;
  readonly width: number;
  readonly lr: number;
  /** Of the synthesiser's own Adam. */
  readonly synthesiserLr: number;
  /** Of the predicted gradient. */
  readonly factor: number;
  readonly device: string;
}

export interface Outcome {
  /** Time steps of the longest episode that was solved; 0: none. */
  readonly longest: number;
  /** After how many episodes it was. */
  readonly after: number;
  readonly episodes: number;
  readonly updates: number;
  readonly seconds: number;
}

/** An episode is solved when the last ones of its level take less than this on average, in bits a symbol. */
const SOLVED = 0.15;
const AVERAGED = 20;
/** Columns of a symbol's vector. */
const EMBEDDING = 16;

function acrossOf({ method, seed, episodes, synthesiserLr, factor }: Configuration): Across {
  const synthesiser = { kind: 'perceptron', hidden: [256] } as const;
  const common = { synthesiser, factor, lr: synthesiserLr, seed };
  switch (method) {
    case 'truncated':
      return 'none';
    case 'exact':
      return 'exact';
    case 'synthetic':
      return syntheticGradients(common);
    case 'synthetic with auxiliary':
      return syntheticGradients({ ...common, auxiliary: 1 });
    case 'alternating':
      return alternating({ ...common, restarts: { first: Math.max(1, Math.round(episodes / 8)) } });
  }
}

/** Trains on episodes that get harder, and tells how far that went. */
export async function trainOnTask(configuration: Configuration): Promise<Outcome> {
  const { task, method, length, seed, episodes, seconds, rows, width, lr, device } = configuration;
  threads(1);
  const random = new Random(seed, 1);
  const model = LanguageModel.create(
    { vocabulary: VOCABULARY, cell: 'lstm', layers: 1, width, embedding: EMBEDDING },
    { seed, device },
  );
  const training = new AcrossSegments(model, { across: acrossOf(configuration), seed });
  const optimizer = new AdamW(training.parameters(), { lr, weightDecay: 0, maxGradNorm: 1 });
  const start = Date.now();
  const passed = () => (Date.now() - start) / 1000;
  let level = FIRST_LEVEL;
  let longest = 0;
  let after = 0;
  let recent: number[] = [];
  let updates = 0;
  let done = 0;
  for (; done < episodes && passed() < seconds; done++) {
    const segments = episode(task, level, rows, length, random);
    let [loss, tokens] = [0, 0];
    for (const part of method === 'exact' ? [segments] : segments.map((segment) => [segment])) {
      // The mean over rows of a row's sum: what the predicted gradient is of does not depend on the segment.
      const result = await training.step(part, { weight: 1 / rows });
      await optimizer.step();
      updates++;
      loss += result.loss * result.tokens;
      tokens += result.tokens;
    }
    recent.push(loss / tokens / Math.LN2);
    if (recent.length < AVERAGED) continue;
    recent = recent.slice(-AVERAGED);
    if (recent.reduce((sum, bits) => sum + bits, 0) / AVERAGED >= SOLVED) continue;
    longest = stepsOf(level);
    after = done + 1;
    level = harder(task, level);
    recent = [];
  }
  return { longest, after, episodes: done, updates, seconds: Math.round(passed()) };
}
