import { setImmediate } from 'node:timers/promises';
import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireCount } from '../options/option-values.js';
import { drawSeed, requireSeed } from '../options/seeds.js';
import { restore } from '../safetensors/restore.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { toStored } from '../safetensors/stored-tensor.js';
import { backward, noGrad, withGrad, withSeed } from '../tensor/autograd.js';
import { GradientSnapshot } from '../tensor/gradient-snapshot.js';
import { call } from '../tensor/operators.js';
import { requireParameterList } from '../tensor/parameter-list.js';
import { tidy, untracked } from '../tensor/scope.js';
import { Tensor, type Parameter } from '../tensor/tensor.js';
import {
  allTrained,
  leavesOf,
  requireCheckable,
  requireLoss,
  requireOneLayer,
  requireTowers,
  undoAll,
  withGradients,
  type Loss,
  type LossGradients,
  type LossOptions,
  type LossShare,
  type LossWithGradients,
} from './loss.js';
import { blocksOf, blocksOfRank, placeOf, rowsOf, type Block } from './distance-blocks.js';
import { DistanceCrossEntropy } from './distance-cross-entropy.js';
import { joinPlaceOptions } from './shared-options.js';

/** A function with weights of its own that compares anchors with candidates. */
export interface DistanceHead {
  /**
   * How near, or how far, each anchor is to each candidate. Each number must follow from its two rows alone. Synchronous.
   * Dropout of libtorch's operators is repeated in the second pass.
   *
   * @param anchors [a, dimension]
   * @param candidates [c, dimension]
   * @returns [a, c]
   */
  forward(anchors: Tensor, candidates: Tensor): Tensor;
  /** The weights that training changes. */
  parameters(): Parameter[];
}

/** Settings of {@link distanceHead}. */
export interface DistanceHeadOptions {
  /**
   * The loss of all distances: a {@link Loss} whose one tower they are, [anchors, candidates]. Default: the cross-entropy of a
   * softmax over the candidates of each anchor, which takes a greater number for a nearer candidate. Anchor i then belongs
   * to candidate i, unless `step(inputs, { loss: { targets } })` says otherwise.
   */
  readonly loss?: Loss<[Tensor]>;
  /** How many anchors and how many candidates the head compares at once. Default: 128. */
  readonly block?: number;
  /** Seed of the head's dropout, where a step is not given one as `step(inputs, { loss: { seed } })`. Default: 0. */
  readonly seed?: number;
}

/** What {@link distanceHead} returns. */
export interface DistanceHeadLoss extends LossWithGradients {
  /** The weights of the head, for a checkpoint. */
  state(): Promise<Map<string, StoredTensor>>;
  /** Goes on from a state. @throws GradCacheError `CHECKPOINT` for one that does not fit */
  loadState(state: ReadonlyMap<string, StoredTensor>): void;
}

const BLOCK = 128;

/** How far distances of the two passes may differ: kernels with a graph may round in another way. */
const SAME = 1e-3;

/**
 * A loss of distances that a head with weights of its own computes, in place of a cosine or a dot product (Gao et al. 2021,
 * section 5). The head compares a block of anchors with a block of candidates at a time. The loss sees all distances at
 * once; their gradients are cached, and the head runs again block by block with a graph. The gradients, those of the head's
 * weights too, are exactly those of the whole batch.
 *
 * Towers: anchors [N, d], then candidates [M_k, e], numbered through all towers. In memory are N times M distances and their
 * gradients, and the graph of one block. Over {@link Ranks} each runs the head on some of the blocks.
 *
 * @throws GradCacheError `INPUT` for a head without `forward` and `parameters`; at the step `SHAPE`, `INPUT`, `NON_FINITE`
 * @example
 * ```ts
 * // How near an anchor is: a sum over the dimensions, whose weights are learned.
 * const weight = Tensor.from(new Float32Array(model.dimension).fill(1));
 * weight.requiresGrad = true;
 * const head = {
 *   forward: (anchors: Tensor, candidates: Tensor) => anchors.mul(weight).matmul(candidates.transpose(0, 1)),
 *   parameters: () => [{ name: 'weight', tensor: weight, decay: false }],
 * };
 * const gradcache = new GradCache({ encoders: [model, model], loss: distanceHead(head) });
 * ```
 */
export function distanceHead(head: DistanceHead, options: DistanceHeadOptions = {}): DistanceHeadLoss {
  checkKnown('distanceHead', options, ['loss', 'block', 'seed']);
  const { loss = new DistanceCrossEntropy(), block = BLOCK, seed = 0 } = options;
  if (typeof head?.forward !== 'function' || typeof head.parameters !== 'function')
    throw new GradCacheError(
      'INPUT',
      'a distance head needs the methods forward(anchors, candidates) and parameters()',
    );
  requireLoss(loss);
  requireCount('block', block, 1);
  requireSeed(seed);
  const ofDistances = withGradients(loss);
  requireOneLayer('distanceHead', ofDistances);
  return new HeadLoss(head, ofDistances, block, seed);
}

class HeadLoss implements DistanceHeadLoss {
  readonly takesSeed = true;
  /** The blocks are divided. */
  readonly sharing = 'parts';
  readonly takesIds: boolean;
  readonly #head: DistanceHead;
  readonly #loss: LossWithGradients;
  readonly #block: number;
  readonly #seed: number;
  #steps = 0;

  constructor(head: DistanceHead, loss: LossWithGradients, block: number, seed: number) {
    this.takesIds = loss.takesIds === true;
    this.#head = head;
    this.#loss = loss;
    this.#block = block;
    this.#seed = seed;
  }

  parameters(): Parameter[] {
    const ofHead: unknown = this.#head.parameters();
    return [
      ...requireParameterList('what parameters() of the head returned', ofHead),
      ...this.#loss.parameters(),
    ];
  }

  async state(): Promise<Map<string, StoredTensor>> {
    const stored = new Map<string, StoredTensor>();
    for (const { name, tensor } of this.parameters()) stored.set(name, await toStored(tensor));
    return stored;
  }

  loadState(state: ReadonlyMap<string, StoredTensor>): void {
    restore(this.parameters(), state);
  }

  checkOptions(options: LossOptions, rows: readonly number[]): void {
    requireCheckable(options, rows);
    requireSides(rows.length);
    const candidates = rows.slice(1).reduce((sum, count) => sum + count);
    this.#loss.checkLengths?.([candidates]);
    this.#loss.checkOptions?.(this.#ofLoss(options), rows.slice(0, 1), [candidates]);
  }

  /** Candidates are numbered as those of other losses, unless the loss of the distances says otherwise. */
  joinOptions(parts: readonly LossOptions[], rows: readonly (readonly number[])[]): LossOptions {
    return this.#loss.joinOptions?.(parts, rows) ?? joinPlaceOptions(parts, rows);
  }

  async compute(
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
    trained: readonly boolean[] = allTrained(representations),
    share?: LossShare,
  ): Promise<LossGradients> {
    requireMatrices(representations);
    if (share !== undefined) this.#requireApart();
    const ofLoss = this.#ofLoss(options);
    const { seed = drawSeed('head', this.#seed, this.#steps++) } = options;
    const blocks = blocksOf(representations, this.#block, seed as number);
    const distances = await this.#compare(representations, blocks, share);
    const undos: LossGradients['undo'][] = [];
    try {
      const { loss, gradients, undo } = await this.#loss.compute([distances], weight, ofLoss, [true]);
      undos.push(undo);
      share?.countOnce(this.#loss.parameters());
      const cached = gradients[0] ?? null;
      if (cached === null) throw new GradCacheError('INPUT', 'the loss gave no gradient for the distances');
      try {
        const before = await GradientSnapshot.take([]);
        undos.push(before);
        const pass = { representations, trained, distances, cached, before };
        const sums = await this.#backward(pass, blocksOfRank(blocks, share));
        // All ranks have the whole loss of all distances: the first counts it.
        const part = share === undefined || share.rank === 0 ? loss : 0;
        return { loss: part, gradients: sums, undo: undoAll(undos) };
      } finally {
        cached.dispose();
      }
    } catch (error) {
      const undo = undoAll(undos);
      undo.restore();
      undo.dispose();
      throw error;
    } finally {
      distances.dispose();
    }
  }

  /**
   * Over ranks the gradients of the head are added up, and those of the loss are counted once: of a parameter of both neither is
   * right.
   *
   * @throws GradCacheError `INPUT`
   */
  #requireApart(): void {
    const ofHead = new Set(this.#head.parameters().map(({ tensor }) => tensor));
    const both = this.#loss.parameters().find(({ tensor }) => ofHead.has(tensor));
    if (both !== undefined)
      throw new GradCacheError(
        'INPUT',
        `${both.name} belongs to the distance head and to its loss; over ranks each needs parameters of its own`,
      );
  }

  /** The keyword arguments of the loss of the distances. @throws GradCacheError `INPUT` for a seed that is none */
  #ofLoss(options: LossOptions): LossOptions {
    const { seed, ...others } = options;
    if (seed === undefined) return options;
    requireSeed(seed);
    return this.#loss.takesSeed === true ? options : others;
  }

  /** First pass: all distances, without a graph. Over ranks each computes some, and all get those of the others. */
  async #compare(
    representations: readonly Tensor[],
    blocks: readonly Block[],
    share: LossShare | undefined,
  ): Promise<Tensor> {
    const [anchors, ...candidates] = representations.map(({ shape }) => shape[0]!) as [number, ...number[]];
    const columns = candidates.reduce((sum, count) => sum + count);
    const own = blocksOfRank(blocks, share);
    let all: Tensor | undefined;
    try {
      // A rank without a block of its own computes one to know the type of distances.
      for (const block of own.length > 0 ? own : blocks.slice(0, 1)) {
        await setImmediate();
        noGrad(() => {
          tidy(() => {
            const found = this.#forward(block, rowsOf(block, representations));
            all ??= untracked(() => call<Tensor>('aten::new_zeros', found, [anchors, columns]));
            if (own.length > 0) placeOf(all, block).copyFrom(found);
          });
        });
      }
      await share?.sum(all!);
      return all!;
    } catch (error) {
      all?.dispose();
      throw error;
    }
  }

  /** Second pass: block by block with a graph, from the cached gradients of the distances. */
  async #backward(pass: Pass, blocks: readonly Block[]): Promise<(Tensor | null)[]> {
    const { representations, trained } = pass;
    const sums = noGrad(() =>
      representations.map((rows, tower) =>
        trained[tower] === true ? call<Tensor>('aten::zeros_like', rows) : null,
      ),
    );
    try {
      for (const block of blocks) {
        await setImmediate();
        await this.#addBlock(pass, block, sums);
      }
      return sums;
    } catch (error) {
      for (const sum of sums) sum?.dispose();
      throw error;
    }
  }

  async #addBlock(pass: Pass, block: Block, sums: readonly (Tensor | null)[]): Promise<void> {
    const sides = [block.anchors, block.candidates];
    const rows = noGrad(() => rowsOf(block, pass.representations));
    const leaves = leavesOf(
      rows,
      sides.map(({ tower }) => pass.trained[tower] === true),
    );
    const used = [...rows, ...leaves];
    try {
      const found = tidy(() => withGrad(() => this.#forward(block, leaves)));
      const seed = placeOf(pass.cached, block);
      used.push(found, seed);
      requireSame(found, pass.distances, block);
      if (found.requiresGrad) {
        await pass.before.addBelow(found, leaves);
        await backward([found], [seed]);
      }
      for (const [side, { tower, begin, count }] of sides.entries()) {
        const sum = sums[tower] ?? null;
        if (sum === null) continue;
        const gradient = leaves[side]!.grad;
        if (gradient === null)
          throw new GradCacheError(
            'INPUT',
            `what forward() of the head returned does not depend on the representations of tower ${tower}`,
          );
        const place = noGrad(() => sum.narrow(0, begin, count));
        used.push(
          gradient,
          place,
          noGrad(() => call<Tensor>('aten::add_.Tensor', place, gradient)),
        );
      }
    } finally {
      for (const tensor of used) tensor.dispose();
    }
  }

  /** @throws GradCacheError `INPUT`, `SHAPE` for what are no distances of the block's rows */
  #forward({ anchors, candidates, seed }: Block, [first, second]: readonly Tensor[]): Tensor {
    const found: unknown = withSeed(seed, () => this.#head.forward(first!, second!));
    if (!(found instanceof Tensor)) throw refused('what forward() of the head returned', found, 'a Tensor');
    const wanted = `[${anchors.count},${candidates.count}]`;
    if (`[${found.shape.join()}]` === wanted) return found;
    throw new GradCacheError(
      'SHAPE',
      `forward() of the head returned shape [${found.shape.join()}] for ${anchors.count} anchors and ` +
        `${candidates.count} candidates; ${wanted} is needed.`,
    );
  }
}

/** What the blocks of the second pass share. */
interface Pass {
  readonly representations: readonly Tensor[];
  readonly trained: readonly boolean[];
  readonly distances: Tensor;
  /** The loss's gradient with respect to each distance. */
  readonly cached: Tensor;
  readonly before: GradientSnapshot;
}

/**
 * The gradients of the first pass's distances would be wrong for others.
 *
 * @throws GradCacheError `INPUT`
 */
function requireSame(found: Tensor, distances: Tensor, block: Block): void {
  const first = placeOf(distances, block);
  const now = found.detach();
  const same = noGrad(() => call<boolean>('aten::allclose', now, first, SAME, SAME, true));
  for (const tensor of [first, now]) tensor.dispose();
  if (same) return;
  throw new GradCacheError(
    'INPUT',
    'forward() of the head returned other distances in the second pass: it must depend on its arguments and weights alone, ' +
      "and draw by libtorch's operators",
  );
}

/** @throws GradCacheError `SHAPE` unless they are rows of anchors and candidates */
function requireMatrices(representations: readonly Tensor[]): void {
  requireTowers(representations);
  requireSides(representations.length);
  for (const [tower, { shape }] of representations.entries())
    if (shape.length !== 2 || shape[0] === 0)
      throw new GradCacheError(
        'SHAPE',
        `representations of tower ${tower} have shape [${shape.join()}], expected [rows, dimension] with at least one row`,
      );
}

/** @throws GradCacheError `SHAPE` unless there are anchors and candidates */
function requireSides(towers: number): void {
  if (towers < 2)
    throw new GradCacheError(
      'SHAPE',
      `a distance head compares anchors with candidates, at least two towers; ${towers} came`,
    );
}
