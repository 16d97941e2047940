import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireCount, requireNumber, requireWeight } from '../options/option-values.js';
import { drawSeed, requireSeed } from '../options/seeds.js';
import { noGrad } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import { tidy, untracked } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { DrawnPlaces } from './drawn-places.js';
import { LossInParts } from './loss-in-parts.js';
import {
  allTrained,
  requireFinite,
  requireLoss,
  requireOneLayer,
  requireTowers,
  rowsOfRank,
  undoAll,
  withGradients,
  type Loss,
  type LossGradients,
  type LossOptions,
  type LossShare,
  type LossWithGradients,
} from './loss.js';
import { matryoshka, type MatryoshkaOptions } from './matryoshka.js';

/** How much the loss at a layer before the last counts, by its number: alike, 1 / (1 + ln(1 + k)), or 1 / (1 + k). */
export type LayerWeighting = (typeof LAYER_WEIGHTINGS)[number];

/** The weightings by name. */
export const LAYER_WEIGHTINGS = ['uniform', 'log', 'linear'] as const;

/** Settings of {@link adaptiveLayer}. */
export interface AdaptiveLayerOptions {
  /** {@link TextEncoder.layers} of the encoders: the layers whose representations a row has side by side. */
  readonly layers: readonly number[];
  /** How many of the layers before the last a step takes, drawn anew for each. Default: 1. */
  readonly layersPerStep?: number | undefined;
  /** What the loss at the last layer is multiplied by. Default: 1. */
  readonly lastLayerWeight?: number | undefined;
  /** What the mean of the losses at the layers before it is multiplied by. Default: 1. */
  readonly priorLayersWeight?: number | undefined;
  /** What the divergence of each of these layers from the last one is multiplied by. Default: 1. */
  readonly klWeight?: number | undefined;
  /** The temperature of that divergence; 0: none is computed. Default: 0.3. */
  readonly klTemperature?: number | undefined;
  /** The weight of a layer before the last, or a function of its number that gives it. Default: `'uniform'`. */
  readonly layerWeighting?: LayerWeighting | ((layer: number) => number) | undefined;
  /** Seed of the draws. Default: 0. */
  readonly seed?: number | undefined;
}

const NAMES = [
  ...['layers', 'layersPerStep', 'lastLayerWeight', 'priorLayersWeight', 'klWeight', 'klTemperature'],
  ...['layerWeighting', 'seed'],
];

/**
 * Trains the layers before the last too, so that users can leave layers out (sentence-transformers' AdaptiveLayerLoss). The loss is
 *
 * `lastLayerWeight * loss(last) + priorLayersWeight * mean of weight(k) * loss(k) + klWeight * klTemperature * sum of KL(k)`
 *
 * over the layers k that a step takes. KL(k) is the mean over all rows of all towers of the divergence of
 * `softmax(row of k / klTemperature)` from that of the last layer, which it does not train.
 *
 * Any loss can be inside, also one that sentence-transformers calls cached and refuses there. Its encoders give the
 * representations of several layers (`layers` of {@link TextEncoder.load}), chunk by chunk as others.
 *
 * `step(inputs, { loss })` passes keyword arguments on to the loss. `seed` is its own, where it draws, and draws the layers of this
 * step (default: the number of the step decides). Around {@link matryoshka} it is {@link matryoshka2d}.
 *
 * @example
 * ```ts
 * const model = await TextEncoder.load('my-model', { layers: 'all' });
 * const loss = adaptiveLayer(infoNCE(), { layers: model.layers });
 * const gradcache = new GradCache({ encoders: [model, model], loss });
 * ```
 *
 * @param loss any loss of dense representations; what it trains, such as a temperature, is one for all layers
 * @throws GradCacheError `INPUT` for options that do not fit; at the step `SHAPE` for representations of other layers
 */
export function adaptiveLayer(loss: Loss, options: AdaptiveLayerOptions): LossWithGradients {
  requireLoss(loss);
  checkKnown('adaptiveLayer', options, NAMES);
  const ofLayers = withGradients(loss);
  requireOneLayer('adaptiveLayer', ofLayers);
  return new AdaptiveLayer(ofLayers, options);
}

/**
 * Trains the beginnings of representations of all layers (2DMSE, Li et al. 2024; sentence-transformers' Matryoshka2dLoss):
 * {@link adaptiveLayer} around {@link matryoshka}, with the settings of both. At each layer a step draws lengths anew.
 *
 * @param options `dimensionsPerStep`: default 1
 * @throws GradCacheError as both
 * @example
 * ```ts
 * const model = await TextEncoder.load('my-model', { layers: 'all' });
 * const loss = matryoshka2d(infoNCE(), { layers: model.layers, dimensions: [384, 128, 32] });
 * const gradcache = new GradCache({ encoders: [model, model], loss });
 * ```
 */
export function matryoshka2d(
  loss: Loss,
  options: AdaptiveLayerOptions & MatryoshkaOptions,
): LossWithGradients {
  checkKnown('matryoshka2d', options, [...NAMES, 'dimensions', 'weights', 'dimensionsPerStep']);
  const { dimensions, weights, dimensionsPerStep = 1, ...layers } = options;
  const { seed = 0 } = options;
  return adaptiveLayer(matryoshka(loss, { dimensions, weights, dimensionsPerStep, seed }), layers);
}

/** @throws GradCacheError `INPUT` unless it is a list of several different layers, the last of all in front */
function requireLayers(given: unknown): asserts given is readonly number[] {
  const wanted =
    "the layers of an encoder that gives those of several (layers: 'all'), the last one in front,";
  if (!Array.isArray(given) || given.length < 2) throw refused('layers', given, wanted);
  for (const [place, layer] of given.entries()) requireCount(`layers[${place}]`, layer, 0);
  const [last, ...inner] = given as number[];
  if (inner.some((layer, place) => layer >= last! || (place > 0 && layer <= inner[place - 1]!)))
    throw refused('layers', given, wanted);
}

/** What `layerWeighting` gives each layer. @throws GradCacheError `INPUT` */
function weightsOf(
  given: NonNullable<AdaptiveLayerOptions['layerWeighting']>,
  layers: readonly number[],
): number[] {
  if (typeof given === 'function')
    return layers.map((layer) => {
      const weight: unknown = given(layer);
      requireWeight(`layerWeighting(${layer})`, weight, { from: 0 });
      return weight;
    });
  switch (given) {
    case 'uniform':
      return layers.map(() => 1);
    case 'log':
      return layers.map((layer) => 1 / (1 + Math.log1p(layer)));
    case 'linear':
      return layers.map((layer) => 1 / (1 + layer));
    default:
      throw refused('layerWeighting', given, `'uniform', 'log', 'linear' or a function of a layer's number`);
  }
}

class AdaptiveLayer extends LossInParts implements LossWithGradients {
  readonly layers: readonly number[];
  /** By place in a row: the last layer, then the others. */
  readonly #weights: readonly number[];
  readonly #kl: { readonly weight: number; readonly temperature: number };

  constructor(loss: LossWithGradients, options: AdaptiveLayerOptions) {
    const { layers, lastLayerWeight = 1, priorLayersWeight = 1, klWeight = 1, klTemperature = 0.3 } = options;
    const { layersPerStep = 1, layerWeighting = 'uniform', seed = 0 } = options;
    requireLayers(layers);
    const [, ...inner] = layers;
    requireNumber('layersPerStep', layersPerStep, { from: 1, to: inner.length, whole: true });
    for (const [name, weight] of Object.entries({ lastLayerWeight, priorLayersWeight, klWeight }))
      requireWeight(name, weight, { from: 0 });
    requireNumber('klTemperature', klTemperature, { from: 0 });
    requireSeed(seed);
    super(loss, new DrawnPlaces('layers', { of: inner.length, count: layersPerStep, seed }));
    this.layers = [...layers];
    this.#weights = [
      lastLayerWeight,
      ...weightsOf(layerWeighting, inner).map((weight) => (priorLayersWeight * weight) / layersPerStep),
    ];
    this.#kl = { weight: klTemperature > 0 ? klWeight : 0, temperature: klTemperature };
  }

  checkLengths(lengths: readonly (number | undefined)[]): void {
    const widths = this.#widths(lengths); // which refuses others, whatever the loss
    this.loss.checkLengths?.(widths);
  }

  protected checkParts(
    options: LossOptions,
    lengths: readonly (number | undefined)[],
    check: (options: LossOptions, lengths: readonly (number | undefined)[]) => void,
  ): void {
    check(options, this.#widths(lengths));
  }

  async compute(
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
    trained: readonly boolean[] = allTrained(representations),
    share?: LossShare,
  ): Promise<LossGradients> {
    requireTowers(representations);
    this.checkLengths(representations.map(({ shape }) => shape.at(-1) ?? 0));
    const undos: LossGradients['undo'][] = [];
    const gradients = representations.map((rows, tower) =>
      trained[tower] === true ? untracked(() => noGrad(() => call('aten::zeros_like', rows))) : null,
    );
    try {
      const seeded = this.loss.takesSeed === true;
      const { places, options: others } = this.drawn.draw(options, seeded, undos);
      let loss = 0;
      for (const place of [0, ...places.map((drawn) => drawn + 1)]) {
        const { seed } = others;
        const own = seeded && seed !== undefined ? { seed: drawSeed('layers', seed as number, place) } : {};
        loss += await this.#add(place, representations, gradients, {
          weight,
          options: { ...others, ...own },
          trained,
          undos,
          share,
        });
        if (place > 0 && this.#kl.weight > 0)
          loss += await this.#diverge(place, representations, gradients, weight, share);
      }
      requireFinite(loss);
      return { loss, gradients, undo: undoAll(undos) };
    } catch (error) {
      const undo = undoAll(undos);
      undo.restore();
      undo.dispose();
      for (const gradient of gradients) gradient?.dispose();
      throw error;
    }
  }

  /** Adds the gradients of the loss at one layer. @returns its part of the loss */
  async #add(
    place: number,
    representations: readonly Tensor[],
    gradients: readonly (Tensor | null)[],
    step: {
      readonly weight: number;
      readonly options: LossOptions;
      readonly trained: readonly boolean[];
      readonly undos: LossGradients['undo'][];
      readonly share: LossShare | undefined;
    },
  ): Promise<number> {
    const { weight, options, trained, undos, share } = step;
    const part = this.#weights[place]!;
    const used = representations.map((rows) => tidy(() => noGrad(() => this.#at(rows, place).clone())));
    try {
      const {
        loss,
        gradients: own,
        undo,
      } = await this.loss.compute([...used], weight * part, options, trained, share);
      undos.push(undo);
      used.push(...own.filter((gradient) => gradient !== null));
      for (const [tower, all] of gradients.entries()) {
        if (all === null) continue;
        const gradient = own[tower] ?? null;
        if (gradient === null)
          throw new GradCacheError(
            'INPUT',
            `the loss gave no gradient for the representations of tower ${tower}`,
          );
        tidy(() => noGrad(() => void this.#at(all, place).copyFrom(gradient)));
      }
      return part * loss;
    } finally {
      for (const tensor of used) tensor.dispose();
    }
  }

  /** Adds the gradients of the divergence of a layer from the last one. @returns its part of the loss */
  async #diverge(
    place: number,
    representations: readonly Tensor[],
    gradients: readonly (Tensor | null)[],
    weight: number,
    share: LossShare | undefined,
  ): Promise<number> {
    const { weight: own, temperature } = this.#kl;
    const counts = share?.rows?.flat() ?? representations.map(({ shape }) => shape[0]!);
    const rows = counts.reduce((sum, count) => sum + count, 0);
    let sum = 0;
    for (const [tower, all] of representations.entries()) {
      const gradient = gradients[tower] ?? null;
      const value = tidy(() =>
        noGrad(() => {
          const part = (tensor: Tensor, at: number): Tensor => ofRank(this.#at(tensor, at), share);
          const divergence = divergenceOf(part(all, 0), part(all, place), temperature);
          if (gradient !== null)
            call('aten::add_.Tensor', part(gradient, place), divergence.gradient, {
              alpha: (weight * own) / rows,
            });
          return divergence.sum;
        }),
      );
      try {
        sum += Number((await value.values())[0]);
      } finally {
        value.dispose();
      }
    }
    return (own * temperature * sum) / rows;
  }

  /** The columns of one layer. */
  #at(tensor: Tensor, place: number): Tensor {
    const width = tensor.shape.at(-1)! / this.layers.length;
    return tensor.narrow(-1, place * width, width);
  }

  #widths(lengths: readonly (number | undefined)[]): (number | undefined)[] {
    return lengths.map((length, tower) => (length === undefined ? undefined : this.#width(length, tower)));
  }

  /** The length of a layer's representation. @throws GradCacheError `SHAPE` */
  #width(length: number, tower: number): number {
    const { length: count } = this.layers;
    if (length % count === 0) return length / count;
    throw new GradCacheError(
      'SHAPE',
      `representations of tower ${tower} have ${length} numbers, which are not those of ${count} layers side by side: give ` +
        'adaptiveLayer the layers of the encoder',
    );
  }
}

/**
 * The divergence of rows of a layer from those of the last one, summed over rows, and its gradient with respect to the former times
 * the temperature.
 */
function divergenceOf(last: Tensor, inner: Tensor, temperature: number): { sum: Tensor; gradient: Tensor } {
  const target = call('aten::softmax.int', last.div(temperature), -1);
  const logs = call('aten::log_softmax.int', inner.div(temperature), -1);
  const sum = call('aten::kl_div', logs, target, SUM);
  return { sum, gradient: logs.exp().sub(target) };
}

/** The reduction of libtorch's losses that adds up. */
const SUM = 2;

/** The rows that this rank counts, of a loss that each computes a part of. */
function ofRank(rows: Tensor, share: LossShare | undefined): Tensor {
  if (share === undefined || share.rows !== undefined) return rows;
  const [begin, end] = rowsOfRank(share, rows.shape[0]!);
  return rows.narrow(0, begin, end - begin);
}
