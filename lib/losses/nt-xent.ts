import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { requireOneOf } from '../options/option-values.js';
import { call } from '../tensor/operators.js';
import { noGrad } from '../tensor/autograd.js';
import type { Tensor } from '../tensor/tensor.js';
import { SIMILARITY, type LossKind, type TrainedLoss } from './loss-kind.js';
import { requireTowers, type LossGradients, type LossOptions } from './loss.js';
import {
  checkTemperature,
  scaleFrom,
  temperatureSettings,
  type Temperature,
  type TemperatureSettings,
} from './temperature.js';
import { TiledLoss } from './tiled-loss.js';

/** Settings of {@link ntXent}. */
export interface NTXentOptions {
  /** Similarities are divided by it, as in {@link InfoNCEOptions}. Default 0.5. */
  readonly temperature?: Temperature;
  /** Default: cosine. */
  readonly similarity?: 'cosine' | 'dot';
}

/**
 * NT-Xent, the loss of SimCLR (Chen et al. 2020): of two views of N examples, each of the 2N views is to find the other
 * view of its example among the 2N - 1 that are not itself. Mean over the 2N views.
 *
 * Towers: first views [N, d], second views [N, d]; further ones [M_k, d] are candidates that belong to no view. Computed in
 * row tiles: 2N x 2N scores never exist at once.
 *
 * @throws GradCacheError `INPUT` for a temperature that is not positive; at the step: `SHAPE`, `NON_FINITE`
 */
export function ntXent(options: NTXentOptions = {}): TrainedLoss {
  checkKnown('ntXent', options, ['temperature', 'similarity']);
  const { temperature = 0.5, similarity = 'cosine' } = options;
  const scale = scaleFrom(temperature);
  requireOneOf('similarity', similarity, ['cosine', 'dot']);
  return new NTXent(scale, similarity === 'cosine');
}

/** InfoNCE of all views against all views, without the pairs of a view with itself. */
class NTXent extends TiledLoss implements TrainedLoss {
  readonly #temperature: () => number;

  constructor({ scale, temperature }: ReturnType<typeof scaleFrom>, cosine: boolean) {
    super({
      name: 'info_nce',
      cosine,
      withoutSelf: true,
      numbers: { scale },
      settings: (options, views) => {
        checkKnown('the loss of ntXent', options, []);
        return {
          symmetric: false,
          targets: Array.from({ length: views }, (_, k) => (k + views / 2) % views),
        };
      },
    });
    this.#temperature = temperature;
  }

  get temperature(): number {
    return this.#temperature();
  }

  override async compute(
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
  ): Promise<LossGradients> {
    const views = bothViews(representations);
    try {
      const { loss, gradients } = await super.compute(
        [views, views, ...representations.slice(2)],
        weight,
        options,
      );
      const [asAnchors, asCandidates, ...others] = gradients as Tensor[];
      const sum = noGrad(() => asAnchors!.add(asCandidates!));
      const half = sum.shape[0]! / 2;
      const parts = [0, half].map((begin) => sum.narrow(0, begin, half));
      for (const tensor of [asAnchors!, asCandidates!, sum]) tensor.dispose();
      return { loss, gradients: [...parts, ...others] };
    } finally {
      views.dispose();
    }
  }
}

/** The views end to end: [2N, d]. @throws GradCacheError `INPUT`, `SHAPE` */
function bothViews(representations: readonly Tensor[]): Tensor {
  requireTowers(representations);
  const [first, second] = representations;
  if (first === undefined || second === undefined)
    throw new GradCacheError(
      'SHAPE',
      `NT-Xent needs two towers, both views of each example; ${representations.length} came`,
    );
  for (const [code, ...found] of [
    ['SHAPE', ...[first, second].map(({ shape }) => `[${shape.join()}]`)],
    ['DTYPE', first.dtype, second.dtype],
    ['DEVICE', first.device, second.device],
  ] as const) {
    if (found[0] !== found[1])
      throw new GradCacheError(code, `the first views are ${found[0]} and the second ${found[1]}`);
  }
  return noGrad(() => call('aten::cat', [first, second], 0));
}

/** NT-Xent in a configuration. */
export interface NTXentSettings extends TemperatureSettings {
  /** Default 'cosine'. The saved model records it. */
  readonly similarity: 'cosine' | 'dot';
}

/** NT-Xent in `train`. */
export const ntXentKind: LossKind<NTXentSettings> = {
  about: 'each of two views of an example against all other views',
  columns: { least: 2, needed: 'two or more different columns: first view, second view, further candidates' },
  takesMemory: true,
  settings: { ...temperatureSettings(0.5), similarity: SIMILARITY },
  check: checkTemperature,
  make: ({ temperature: initial, learned, similarity }) =>
    ntXent({ temperature: { initial, learned }, similarity }),
  temperature: ({ temperature }) => temperature,
};
