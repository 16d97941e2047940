import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireNumber } from '../options/option-values.js';
import { requireSeed } from '../options/seeds.js';
import { PerceptronSynthesiser, type PerceptronSettings } from './perceptron-synthesiser.js';
import { RecurrentSynthesiser, type RecurrentSettings } from './recurrent-synthesiser.js';
import type { Synthesiser, SynthesiserShape } from './synthesiser.js';

/** Options of {@link syntheticGradients}. */
export interface SyntheticOptions {
  /** What predicts the gradient. Default: a perceptron. */
  readonly synthesiser?: PerceptronSettings | RecurrentSettings | Synthesiser;
  /** What the predicted gradient is multiplied by. Default 0.1. */
  readonly factor?: number;
  /** Learning rate of the synthesiser's own Adam. Default 1e-3. */
  readonly lr?: number;
  /** The state that the synthesiser sees is multiplied by noise of mean 1 and this standard deviation. Default 0. */
  readonly noise?: number;
  /**
   * Weight of the auxiliary task: to predict from a state also the gradient that will be predicted a segment later. Default 0:
   * there is none.
   */
  readonly auxiliary?: number;
  /** Seed of the synthesiser's weights. Default 0. */
  readonly seed?: number;
}

/** Synthetic gradients across segments; see {@link syntheticGradients}. */
export interface SyntheticGradients extends Required<SyntheticOptions> {
  /** What it is. */
  readonly kind: 'synthetic';
}

export const SYNTHETIC_OPTIONS = ['synthesiser', 'factor', 'lr', 'noise', 'auxiliary', 'seed'] as const;

/**
 * Gradients across segments that a model predicts (Jaderberg et al. 2017). A segment's backward is seeded with its loss and
 * with the predicted gradient of the state that it hands on. What then reaches the state before it is what the synthesiser
 * should have predicted there, and it learns that with an optimizer of its own.
 *
 * It predicts the gradient of a row's own loss, summed in nats: the size of the batch and the weight of the loss do not
 * matter to it.
 *
 * @throws GradCacheError `INPUT`
 * @example
 * ```ts
 * const training = new AcrossSegments(languageModel, { across: syntheticGradients() });
 * ```
 */
export function syntheticGradients(options: SyntheticOptions = {}): SyntheticGradients {
  checkKnown('syntheticGradients', options, SYNTHETIC_OPTIONS);
  const {
    synthesiser = { kind: 'perceptron' },
    factor = 0.1,
    lr = 1e-3,
    noise = 0,
    auxiliary = 0,
    seed = 0,
  } = options;
  requireNumber('factor of syntheticGradients', factor, { from: 0 });
  requireNumber('lr of syntheticGradients', lr, { above: 0 });
  requireNumber('noise of syntheticGradients', noise, { from: 0 });
  requireNumber('auxiliary of syntheticGradients', auxiliary, { from: 0 });
  requireSeed(seed);
  requireSynthesiser(synthesiser);
  return { kind: 'synthetic', synthesiser, factor, lr, noise, auxiliary, seed };
}

function requireSynthesiser(given: unknown): void {
  if (typeof given !== 'object' || given === null)
    throw refused('synthesiser', given, 'settings, or a Synthesiser');
  if (typeof (given as { predict?: unknown }).predict === 'function') return;
  const { kind } = given as { kind?: unknown };
  if (kind === 'perceptron') checkKnown('a perceptron', given, ['kind', 'hidden']);
  else if (kind === 'recurrent')
    checkKnown('a recurrent synthesiser', given, ['kind', 'along', 'cell', 'hidden']);
  else throw refused('kind of the synthesiser', kind, '"perceptron" or "recurrent"');
}

/** The synthesiser of a setting of {@link syntheticGradients}. @throws GradCacheError `INPUT`; `SHAPE` for one of another width */
export function synthesiserFor(
  given: SyntheticGradients['synthesiser'],
  shape: SynthesiserShape,
): Synthesiser {
  if ('predict' in given) return requireFits(given, shape);
  return given.kind === 'perceptron'
    ? new PerceptronSynthesiser(shape, given)
    : new RecurrentSynthesiser(shape, given);
}

function requireFits(synthesiser: Synthesiser, { width, predictions }: SynthesiserShape): Synthesiser {
  if (synthesiser.width !== width)
    throw new GradCacheError(
      'SHAPE',
      `the synthesiser is for states of width ${synthesiser.width}, the model's have ${width}`,
    );
  if (synthesiser.predictions < predictions)
    throw new GradCacheError('INPUT', 'the auxiliary task needs a synthesiser with two predictions');
  return synthesiser;
}
