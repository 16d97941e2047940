import { refuse, SettingError, type Fields } from '../options/fields.js';
import { readKind, type Filled, type Given } from '../options/kinds.js';
import { show } from '../options/option-values.js';
import type { Similarity, TokenSimilarity } from '../options/similarity.js';
import { adrMSEKind, type ADRMSEOptions } from './adr-mse.js';
import { binaryCrossEntropyKind, type BinaryCrossEntropyOptions } from './binary-cross-entropy.js';
import { crossEncoderRankingKind, type CrossEncoderRankingSettings } from './cross-encoder-ranking.js';
import { crossEntropyKind, type CrossEntropySettings } from './cross-entropy.js';
import { lambdaLossKind, type LambdaLossSettings, type RankNetSettings } from './lambda-loss.js';
import { listMLEKind } from './list-mle.js';
import { listNetKind, type ListNetOptions } from './list-net.js';
import { pListMLEKind, type ListMLEOptions } from './p-list-mle.js';
import { rankNetKind } from './rank-net.js';
import { scoreMarginMSEKind, type ScoreMarginMSEOptions } from './score-margin-mse.js';
import { scoreMSEKind, type ScoreMSEOptions } from './score-mse.js';
import { anglEKind, type AnglEOptions } from './angle.js';
import { batchAllTripletKind } from './batch-all-triplet.js';
import { batchHardSoftMarginTripletKind, batchHardTripletKind } from './batch-hard-triplet.js';
import { batchSemiHardTripletKind } from './batch-semi-hard-triplet.js';
import type { BatchTripletOptions } from './batch-triplets.js';
import { contrastiveKind, type ContrastiveOptions } from './contrastive.js';
import { coSENTKind, type CoSENTSettings } from './cosent.js';
import { cosineSimilarityKind } from './cosine-similarity.js';
import { distillKLDivKind, type DistillKLDivSettings } from './distill-kl-div.js';
import { embedDistillKind, type EmbedDistillSettings, mseKind, type MSESettings } from './embed-distill.js';
import { gistEmbedKind, type GISTEmbedSettings } from './gist-embed.js';
import {
  globalOrthogonalRegularizationKind,
  type GlobalOrthogonalRegularizationOptions,
} from './global-orthogonal-regularization.js';
import { marginMSEKind, type MarginMSESettings } from './margin-mse.js';
import { onlineContrastiveKind, type OnlineContrastiveOptions } from './online-contrastive.js';
import { softmaxKind, type SoftmaxClassificationSettings } from './softmax-classification.js';
import { tripletKind, type TripletOptions } from './triplet.js';
import { infoNCEKind, type InfoNCESettings } from './info-nce.js';
import type { LossKind, LossModel, TrainedLoss } from './loss-kind.js';
import type { LossOptions, LossWithGradients } from './loss.js';
import { megaBatchMarginKind, type MegaBatchMarginOptions } from './mega-batch-margin.js';
import { multiSimilarityKind, type MultiSimilarityOptions } from './multi-similarity.js';
import {
  multipleNegativesRankingKind,
  type MultipleNegativesRankingSettings,
} from './multiple-negatives-ranking.js';
import { multiVectorDistillKind, type MultiVectorDistillSettings } from './multi-vector-distill-kl-div.js';
import { multiVectorMarginKind } from './multi-vector-margin-mse.js';
import {
  multiVectorRankingKind,
  type MultiVectorRankingSettings,
} from './multi-vector-multiple-negatives-ranking.js';
import type { InteractionSettings } from './token-loss.js';
import { ntXentKind, type NTXentSettings } from './nt-xent.js';
import { OWN_LOSS, ownLossKind } from './own-loss.js';
import { sigLIPKind, type SigLIPSettings } from './siglip.js';
import {
  spladeDistillKLDivKind,
  spladeKind,
  spladeMarginMSEKind,
  type SpladeDistillKLDivSettings,
  type SpladeMarginMSESettings,
  type SpladeSettings,
} from './splade-kinds.js';
import { supConKind, type SupConSettings } from './sup-con.js';

/** The settings of each loss, by the name that `loss.kind` and `--loss` take. */
interface LossSettings {
  'adr-mse': Required<ADRMSEOptions>;
  angle: Required<AnglEOptions>;
  'batch-all-triplet': Required<BatchTripletOptions>;
  'batch-hard-soft-margin-triplet': Required<Pick<BatchTripletOptions, 'distance'>>;
  'batch-hard-triplet': Required<BatchTripletOptions>;
  'batch-semi-hard-triplet': Required<BatchTripletOptions>;
  'binary-cross-entropy': Required<BinaryCrossEntropyOptions>;
  contrastive: Required<ContrastiveOptions>;
  cosent: CoSENTSettings;
  'cosine-similarity': object;
  'cross-encoder-ranking': CrossEncoderRankingSettings;
  'cross-entropy': CrossEntropySettings;
  'distill-kl-div': DistillKLDivSettings;
  'embed-distill': EmbedDistillSettings;
  'gist-embed': GISTEmbedSettings;
  'global-orthogonal-regularization': Required<GlobalOrthogonalRegularizationOptions>;
  infonce: InfoNCESettings;
  'lambda-loss': LambdaLossSettings;
  'list-mle': Required<ListMLEOptions>;
  'list-net': Required<ListNetOptions>;
  'margin-mse': MarginMSESettings;
  'mega-batch-margin': Required<MegaBatchMarginOptions>;
  mse: MSESettings;
  'multi-similarity': Required<MultiSimilarityOptions>;
  'multiple-negatives-ranking': MultipleNegativesRankingSettings;
  'multi-vector-distill-kl-div': MultiVectorDistillSettings;
  'multi-vector-margin-mse': InteractionSettings;
  'multi-vector-multiple-negatives-ranking': MultiVectorRankingSettings;
  ntxent: NTXentSettings;
  'online-contrastive': Required<OnlineContrastiveOptions>;
  'p-list-mle': Required<ListMLEOptions>;
  'rank-net': RankNetSettings;
  'score-margin-mse': Required<ScoreMarginMSEOptions>;
  'score-mse': Required<ScoreMSEOptions>;
  siglip: SigLIPSettings;
  softmax: SoftmaxClassificationSettings;
  splade: SpladeSettings;
  'splade-distill-kl-div': SpladeDistillKLDivSettings;
  'splade-margin-mse': SpladeMarginMSESettings;
  'sup-con': SupConSettings;
  triplet: Required<TripletOptions>;
}

/** The losses that a run can be trained with. */
export const LOSSES: { readonly [K in keyof LossSettings]: LossKind<LossSettings[K]> } = {
  'adr-mse': adrMSEKind,
  angle: anglEKind,
  'batch-all-triplet': batchAllTripletKind,
  'batch-hard-soft-margin-triplet': batchHardSoftMarginTripletKind,
  'batch-hard-triplet': batchHardTripletKind,
  'batch-semi-hard-triplet': batchSemiHardTripletKind,
  'binary-cross-entropy': binaryCrossEntropyKind,
  contrastive: contrastiveKind,
  cosent: coSENTKind,
  'cosine-similarity': cosineSimilarityKind,
  'cross-encoder-ranking': crossEncoderRankingKind,
  'cross-entropy': crossEntropyKind,
  'distill-kl-div': distillKLDivKind,
  'embed-distill': embedDistillKind,
  'gist-embed': gistEmbedKind,
  'global-orthogonal-regularization': globalOrthogonalRegularizationKind,
  infonce: infoNCEKind,
  'lambda-loss': lambdaLossKind,
  'list-mle': listMLEKind,
  'list-net': listNetKind,
  'margin-mse': marginMSEKind,
  'mega-batch-margin': megaBatchMarginKind,
  mse: mseKind,
  'multi-similarity': multiSimilarityKind,
  'multiple-negatives-ranking': multipleNegativesRankingKind,
  'multi-vector-distill-kl-div': multiVectorDistillKind,
  'multi-vector-margin-mse': multiVectorMarginKind,
  'multi-vector-multiple-negatives-ranking': multiVectorRankingKind,
  ntxent: ntXentKind,
  'online-contrastive': onlineContrastiveKind,
  'p-list-mle': pListMLEKind,
  'rank-net': rankNetKind,
  'score-margin-mse': scoreMarginMSEKind,
  'score-mse': scoreMSEKind,
  siglip: sigLIPKind,
  softmax: softmaxKind,
  splade: spladeKind,
  'splade-distill-kl-div': spladeDistillKLDivKind,
  'splade-margin-mse': spladeMarginMSEKind,
  'sup-con': supConKind,
  triplet: tripletKind,
};

/** The loss of a run that names none. */
export const DEFAULT_LOSS = 'infonce';

/** {@link LossSettings}, and what stands for an object of the program. */
interface AnyLossSettings extends LossSettings {
  [OWN_LOSS]: object;
}

type LossName = keyof AnyLossSettings;

const KINDS: { readonly [K in LossName]: LossKind<AnyLossSettings[K]> } = {
  ...LOSSES,
  [OWN_LOSS]: ownLossKind,
};

/** A loss in a configuration: its name and its settings; missing ones have their defaults. */
export type LossConfig = Given<LossSettings, typeof DEFAULT_LOSS>;

/** A {@link LossConfig} with all of its settings. */
export type FilledLossConfig = Filled<AnyLossSettings>;

/** Reads the loss of a configuration. @throws GradCacheError `INPUT` */
export function readLoss(fields: Fields): FilledLossConfig {
  return fields.raw('kind') === OWN_LOSS
    ? readKind<{ [OWN_LOSS]: object }>(fields, { [OWN_LOSS]: ownLossKind }, OWN_LOSS)
    : readKind<LossSettings>(fields, LOSSES, DEFAULT_LOSS);
}

/** Whether the loss of a configuration is to know which rows share a text. */
export function masksDuplicates<K extends LossName>(loss: Filled<AnyLossSettings, K>): boolean {
  const kind: LossKind<AnyLossSettings[K]> = KINDS[loss.kind];
  return kind.masksDuplicates?.(loss) ?? false;
}

/** The folder of the model that judges for a loss; null: none does. */
export function guideOf<K extends LossName>(loss: Filled<AnyLossSettings, K>): string | null {
  const kind: LossKind<AnyLossSettings[K]> = KINDS[loss.kind];
  return kind.guide?.(loss) ?? null;
}

/** What a loss needs of the data and of a run. */
export function kindOf({
  kind,
}: FilledLossConfig): Pick<
  LossKind<never>,
  | 'columns'
  | 'label'
  | 'comparesRows'
  | 'pairs'
  | 'perToken'
  | 'takesLists'
  | 'takesMemory'
  | 'takesWeights'
  | 'sparse'
> {
  return KINDS[kind];
}

/** @throws GradCacheError `INPUT` if the loss needs more columns, or fewer */
export function requireColumns(path: string, columns: readonly string[], loss: FilledLossConfig): void {
  const { least, most = Infinity, needed } = kindOf(loss).columns;
  const fits = columns.length >= least && columns.length <= most;
  if (!fits || new Set(columns).size < columns.length) throw refuse(path, columns, needed);
}

/** The names of the losses that can do something, for messages. */
const able = (what: 'takesWeights' | 'masksDuplicates' | 'takesLists' | 'takesMemory'): string =>
  Object.entries(LOSSES)
    .flatMap(([name, kind]) => (kind[what] ? [show(name)] : []))
    .join(', ');

/** @throws GradCacheError `INPUT` for a loss whose rows all count the same */
export function requireWeights(path: string, loss: FilledLossConfig): void {
  if (kindOf(loss).takesWeights === true) return;
  throw new SettingError(
    path,
    `says how much each row counts, and the loss ${loss.kind} takes no weights; ${able('takesWeights')} do.`,
  );
}

/** @throws GradCacheError `INPUT` for a loss that masks no duplicates. What a loss of the program does with ids is its own. */
export function requireIds(path: string, loss: FilledLossConfig): void {
  if (loss.kind === OWN_LOSS || KINDS[loss.kind].masksDuplicates !== undefined) return;
  throw new SettingError(
    path,
    `says which rows are no negatives of each other, and the loss ${loss.kind} takes no ids; ${able('masksDuplicates')} do.`,
  );
}

/** @throws GradCacheError `INPUT` for a loss that takes one text of each column in a row */
export function requireLists(path: string, loss: FilledLossConfig): void {
  if (kindOf(loss).takesLists === true) return;
  throw new SettingError(
    path,
    `names columns of lists, and the loss ${loss.kind} takes one text of each column in a row; ${able('takesLists')} take lists.`,
  );
}

/** @throws GradCacheError `INPUT` for a loss whose candidates cannot come from a memory */
export function requireMemory(path: string, loss: FilledLossConfig): void {
  if (kindOf(loss).takesMemory === true) return;
  throw new SettingError(
    path,
    `adds candidates of earlier batches, and the loss ${loss.kind} takes none; ${able('takesMemory')} do.`,
  );
}

/** The loss of a configuration. */
export function makeLoss<K extends LossName>(
  loss: Filled<AnyLossSettings, K>,
  model: LossModel,
): LossWithGradients & Partial<TrainedLoss> {
  const { kind, ...settings } = loss;
  // What is left are the settings of this kind.
  return KINDS[kind].make(settings as unknown as AnyLossSettings[K], model);
}

/** Keyword arguments of the loss of a configuration in an update, which is numbered from 1. */
export function stepOptionsOf<K extends LossName>(
  loss: Filled<AnyLossSettings, K>,
  update: { readonly step: number; readonly steps: number },
): LossOptions {
  return KINDS[loss.kind].stepOptions?.(loss, update) ?? {};
}

/** Whether {@link stepOptionsOf} has something to say of a loss, so that the number of all updates must be known. */
export function needsLength({ kind }: FilledLossConfig): boolean {
  return KINDS[kind].stepOptions !== undefined;
}

/** How many negatives are drawn for each anchor by the loss of a configuration; 0 for one that draws none. */
export function negativesOf<K extends LossName>(loss: Filled<AnyLossSettings, K>): number {
  const kind: LossKind<AnyLossSettings[K]> = KINDS[loss.kind];
  return kind.pairs?.negatives?.(loss) ?? 0;
}

/** The initial temperature of the loss of a configuration; null if it has none. */
export function temperatureOf<K extends LossName>(loss: Filled<AnyLossSettings, K>): number | null {
  return KINDS[loss.kind].temperature?.(loss) ?? null;
}

/** The similarity that the loss of a configuration trains. */
export function similarityOf<K extends LossName>(
  loss: Filled<AnyLossSettings, K>,
): Similarity | TokenSimilarity {
  const kind: LossKind<AnyLossSettings[K]> = KINDS[loss.kind];
  const { similarity = 'cosine' } = loss as { readonly similarity?: Similarity };
  return kind.similarity?.(loss) ?? similarity;
}
