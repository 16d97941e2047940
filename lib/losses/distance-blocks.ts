import { drawSeed } from '../options/seeds.js';
import { noGrad } from '../tensor/autograd.js';
import { tidy } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import type { LossShare } from './loss.js';

/** Some anchors and some candidates of one tower: rows of both, and the first one's column among all distances. */
export interface Block {
  readonly anchors: Rows;
  readonly candidates: Rows;
  readonly column: number;
  readonly seed: number;
}

interface Rows {
  readonly tower: number;
  readonly begin: number;
  readonly count: number;
}

/** All pairs of anchors and candidates, block by block. */
export function blocksOf([anchors, ...candidates]: readonly Tensor[], size: number, seed: number): Block[] {
  const blocks: Block[] = [];
  let first = 0;
  for (const [place, rows] of candidates.entries()) {
    for (const ofAnchors of rangesOf(0, anchors!, size))
      for (const ofCandidates of rangesOf(place + 1, rows, size))
        blocks.push({
          anchors: ofAnchors,
          candidates: ofCandidates,
          column: first + ofCandidates.begin,
          seed: drawSeed('head', seed, blocks.length),
        });
    first += rows.shape[0]!;
  }
  return blocks;
}

function rangesOf(tower: number, rows: Tensor, size: number): Rows[] {
  const all = rows.shape[0]!;
  return Array.from({ length: Math.ceil(all / size) }, (_, k) => ({
    tower,
    begin: k * size,
    count: Math.min(size, all - k * size),
  }));
}

/** The representations of a block, as views. */
export function rowsOf({ anchors, candidates }: Block, representations: readonly Tensor[]): [Tensor, Tensor] {
  const cut = ({ tower, begin, count }: Rows): Tensor => representations[tower]!.narrow(0, begin, count);
  return [cut(anchors), cut(candidates)];
}

/** The part of a matrix [anchors, candidates] that belongs to a block, as a view. */
export function placeOf(all: Tensor, { anchors, candidates, column }: Block): Tensor {
  return noGrad(() =>
    tidy(() => all.narrow(0, anchors.begin, anchors.count).narrow(1, column, candidates.count)),
  );
}

/** Those that this rank compares: each rank takes one in turn. */
export function blocksOfRank(blocks: readonly Block[], share: LossShare | undefined): readonly Block[] {
  return share === undefined ? blocks : blocks.filter((_, place) => place % share.size === share.rank);
}
