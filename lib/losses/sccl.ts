import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireCount, requireNumber } from '../options/option-values.js';
import { requireSeed } from '../options/seeds.js';
import { backward, noGrad, withGrad, withSeed } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import { tidy, untracked } from '../tensor/scope.js';
import { Tensor, type Parameter } from '../tensor/tensor.js';
import {
  allTrained,
  leavesOf,
  requireFinite,
  requireTowers,
  type LossGradients,
  type LossOptions,
  type LossWithGradients,
} from './loss.js';
import { ntXent } from './nt-xent.js';

/** Settings of {@link sccl}. */
export interface SCCLOptions {
  /** The initial centres [clusters, dimension], such as {@link kMeans} finds; they are copied and trained. */
  readonly centres: Tensor;
  /** Multiplies the contrastive loss. Default 10. */
  readonly eta?: number;
  /** Multiplies the clustering loss. Default: 0.5 for two towers, 1 for three. */
  readonly clustering?: number;
  /** Of the contrastive loss. Default 0.5. */
  readonly temperature?: number;
  /** Degrees of freedom of Student's t distribution. Default 1. */
  readonly degrees?: number;
  /** Width of what the instance head gives to the contrastive loss. Default 128. */
  readonly width?: number;
  /** Seed of the weights of the instance head. Default 0. */
  readonly seed?: number;
}

/** What {@link sccl} returns. */
export interface SCCLLoss extends LossWithGradients {
  /** The probability of each cluster for representations [rows, dimension]: [rows, clusters], without a graph. */
  clusters(representations: Tensor): Tensor;
}

/**
 * SCCL (Zhang et al. 2021): learns clusters and representations together. An instance head (linear, ReLU, linear) and
 * {@link ntXent} tell examples apart; a cluster head pulls each representation to the centre that it is near already, by the
 * Kullback-Leibler divergence of its cluster probabilities from the {@link targetDistribution}.
 *
 * Towers: two views [N, d] that differ by dropout; the first is clustered as well. Or three: two augmented views, then the
 * texts themselves, which are clustered. The parameters are those of the heads; the paper's learning rate for them is 100
 * times that of the encoder.
 *
 * @throws GradCacheError `INPUT`, `SHAPE` for a wrong option; at the step: `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const { centres } = await kMeans(await model.encode(texts), 8);
 * const loss = sccl({ centres });
 * const gradcache = new GradCache({ encoders: [model, model], loss });
 * const views = model.tokenize(texts); // two views of each text, by dropout
 * await gradcache.step([views, views]);
 * const clusters = loss.clusters(await model.encode(texts)); // [texts, 8]
 * ```
 */
export function sccl(options: SCCLOptions): SCCLLoss {
  const names = ['centres', 'eta', 'clustering', 'temperature', 'degrees', 'width', 'seed'];
  checkKnown('sccl', options, names);
  const { centres, eta = 10, clustering, temperature = 0.5, degrees = 1, width = 128, seed = 0 } = options;
  requireMatrix('centres', centres, '[clusters, dimension]');
  requireNumber('eta', eta, { from: 0 });
  if (clustering !== undefined) requireNumber('clustering', clustering, { from: 0 });
  requireNumber('degrees', degrees, { above: 0 });
  requireCount('width', width, 1);
  requireSeed(seed);
  return new SCCL({ centres, eta, clustering, temperature, degrees, width, seed });
}

/**
 * The target of cluster probabilities q [rows, clusters] (Xie et al. 2016): `q^2 / sum of the cluster's q`, normalised over
 * clusters. It makes sure ones surer, and large clusters no larger. Without a graph.
 *
 * @throws GradCacheError `INPUT`, `SHAPE` unless it is a tensor [rows, clusters]
 * @example
 * ```ts
 * const targets = targetDistribution(loss.clusters(representations)); // [texts, clusters], sharper than what it is made of
 * ```
 */
export function targetDistribution(probabilities: Tensor): Tensor {
  requireMatrix('probabilities', probabilities, '[rows, clusters]');
  return tidy(() =>
    noGrad(() => {
      const weights = probabilities.mul(probabilities).div(probabilities.sum(0));
      return weights.div(weights.sum(1).reshape([-1, 1]));
    }),
  );
}

function requireMatrix(name: string, value: unknown, layout: string): asserts value is Tensor {
  if (!(value instanceof Tensor)) throw refused(name, value, `a Tensor ${layout}`);
  if (value.shape.length !== 2)
    throw new GradCacheError('SHAPE', `${name} is [${value.shape.join()}], expected ${layout}`);
}

class SCCL implements SCCLLoss {
  readonly #eta: number;
  readonly #clustering: number | undefined;
  readonly #degrees: number;
  readonly #contrast: LossWithGradients;
  readonly #parameters: readonly Parameter[];

  constructor(given: Required<Omit<SCCLOptions, 'clustering'>> & { clustering: number | undefined }) {
    const { centres, width, seed, temperature } = given;
    this.#eta = given.eta;
    this.#clustering = given.clustering;
    this.#degrees = given.degrees;
    this.#contrast = ntXent({ temperature });
    const inputs = centres.shape[1]!;
    const like = { dtype: centres.dtype, device: centres.device } as const;
    const made = untracked(() =>
      noGrad(() =>
        withSeed(seed, () => {
          const linear = (rows: number) =>
            call<Tensor>('aten::randn', [rows, inputs], like).mul(1 / Math.sqrt(inputs));
          const bias = (rows: number) => call<Tensor>('aten::zeros', [rows], like);
          return [linear(inputs), bias(inputs), linear(width), bias(width), centres.detach().clone()];
        }),
      ),
    );
    const names = ['head.0.weight', 'head.0.bias', 'head.1.weight', 'head.1.bias', 'centres'];
    this.#parameters = made.map((tensor, place) => {
      tensor.requiresGrad = true;
      return { name: `loss.${names[place]}`, tensor, decay: names[place]!.endsWith('weight') };
    });
  }

  parameters(): Parameter[] {
    return [...this.#parameters];
  }

  clusters(representations: Tensor): Tensor {
    requireMatrix('representations', representations, '[rows, dimension]');
    return tidy(() => noGrad(() => this.#probabilities(representations)));
  }

  async compute(
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
    trained: readonly boolean[] = allTrained(representations),
  ): Promise<LossGradients> {
    checkKnown('the loss of sccl', options, []);
    this.#check(representations);
    const leaves = leavesOf(representations, trained);
    const used: Tensor[] = [...leaves];
    try {
      const [first, second, divergence] = tidy<[Tensor, Tensor, Tensor]>(() =>
        withGrad(() => [
          this.#head(leaves[0]!),
          this.#head(leaves[1]!),
          this.#divergence(leaves[2] ?? leaves[0]!),
        ]),
      );
      const views = [first, second].map((view) => view.detach());
      used.push(first, second, divergence, ...views);
      const contrast = await this.#contrast.compute(views, weight * this.#eta, {});
      used.push(...(contrast.gradients as Tensor[]));
      const share = this.#clustering ?? (leaves.length === 2 ? 0.5 : 1);
      const loss = this.#eta * contrast.loss + share * Number((await divergence.values())[0]);
      requireFinite(loss);
      const seed: Tensor = call('aten::full_like', divergence, weight * share);
      used.push(seed);
      await backward([first, second, divergence], [...(contrast.gradients as Tensor[]), seed]);
      return { loss, gradients: leaves.map(({ grad }) => grad) };
    } finally {
      for (const tensor of used) tensor.dispose();
    }
  }

  #head(rows: Tensor): Tensor {
    const [weight, bias, out, outBias] = this.#parameters.map(({ tensor }) => tensor);
    return rows.linear(weight!, bias).relu().linear(out!, outBias);
  }

  /** Student's t distribution around the centres, normalised over clusters. */
  #probabilities(rows: Tensor): Tensor {
    const centres = this.#parameters.at(-1)!.tensor;
    const squares = rows.mul(rows).sum(1).reshape([-1, 1]).add(centres.mul(centres).sum(1));
    const distances = squares.sub(rows.matmul(centres.t()).mul(2)).relu();
    const power = -(this.#degrees + 1) / 2;
    return distances.div(this.#degrees).add(1).log().mul(power).softmax(1);
  }

  /** KL(target || probabilities), the mean over rows. */
  #divergence(rows: Tensor): Tensor {
    const probabilities = this.#probabilities(rows);
    const target = targetDistribution(probabilities.detach());
    return target.mul(target.log().sub(probabilities.log())).sum().div(rows.shape[0]!);
  }

  /** @throws GradCacheError `SHAPE` */
  #check(representations: readonly Tensor[]): void {
    requireTowers(representations);
    const dimension = this.#parameters.at(-1)!.tensor.shape[1];
    const shapes = representations.map(({ shape }) => `[${shape.join()}]`);
    const fits = representations.every(({ shape }) => shape.length === 2 && shape[1] === dimension);
    if (fits && (shapes.length === 2 || shapes.length === 3)) return;
    throw new GradCacheError(
      'SHAPE',
      `SCCL is given ${shapes.join(', ')}; two or three towers [rows, ${dimension}] are needed, as the centres are`,
    );
  }
}
