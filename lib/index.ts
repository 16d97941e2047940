/// <reference types="node" preserve="true" />
/// <reference lib="esnext.disposable" preserve="true" />
/**
 * gradcache: train encoders with very large contrastive batches, exactly, in the memory of one chunk.
 *
 * @packageDocumentation
 */
export { GradCacheError, type ErrorCode } from './errors.js';
export { Tensor, type DType, type Parameter } from './tensor/tensor.js';
export type { TensorData, TensorValues } from './tensor/tensor-data.js';
export { call, callAsync, schema } from './tensor/operators.js';
export { backward, noGrad, withGrad, withSeed } from './tensor/autograd.js';
export { tidy } from './tensor/scope.js';
export {
  devices,
  emptyCache,
  memory,
  resetPeakMemory,
  synchronize,
  threads,
  type Memory,
} from './tensor/memory.js';
export type { RepositoryKind } from './hub/hub-name.js';
export { pull, type HubProgress, type Pulled, type PullOptions } from './hub/pull.js';
export type { Pushed, PushOptions } from './model-folder/push-folder.js';
export { push } from './training/push.js';
export { exportOnnx, type ExportOnnxOptions, type OnnxFile, type OnnxProgress } from './onnx/export-onnx.js';
export type { OnnxPrecision } from './onnx/builder.js';
export { useLibtorch } from './addon/native.js';
export { Ranks, type RanksOptions } from './distributed/ranks.js';
export { GradCache } from './step/gradcache.js';
export type {
  GradCacheOptions,
  LossOfOptions,
  StepOptions,
  StepProgress,
  StepResult,
} from './step/gradcache-options.js';
export type { Curate, Drawn, RowList, Verdict } from './step/verdict.js';
export { RepresentationCache } from './step/representation-cache.js';
export type { TokenEncoder } from './encoders/token-encoder.js';
export { CaptionEncoder } from './images/caption-encoder.js';
export {
  ImageEncoder,
  type NewImageEncoderOptions,
  type PictureBatch,
  type ReadPicturesOptions,
} from './images/image-encoder.js';
export { ImageTextModel, type ScoreNumbers } from './images/image-text-model.js';
export { ImageTextPair } from './images/image-text-pair.js';
export {
  evaluateImageText,
  type ImageTextOptions,
  type ImageTextScores,
} from './images/image-text-retrieval.js';
export type { ImageTextTowers } from './images/image-text-towers.js';
export type { TowerOptions } from './images/tower-weights.js';
export { CrossEncoder, type RankedDocument } from './encoders/cross-encoder.js';
export type {
  CrossEncoderOptions,
  NewCrossEncoderOptions,
  NewHead,
  PredictActivation,
  PredictOptions,
  RankOptions,
} from './encoders/cross-encoder-options.js';
export type { ScoreActivation } from './model-folder/cross-encoder-folder.js';
export {
  TextEncoder,
  /** {@link TextEncoder} by a name that no global of Node.js has. */
  TextEncoder as EmbeddingModel,
  type CreateOptions,
  type LoadOptions,
  type TextEncoderOptions,
  type TaskEncodeOptions,
  type TokenRepresentations,
} from './encoders/text-encoder.js';
export type { PerTokenOptions } from './encoders/text-encoder-options.js';
export type { LoraOptions } from './encoders/lora-options.js';
export type { Windows } from './encoders/long-texts.js';
export {
  ModuleEncoder,
  type Module,
  type PackedRepresentations,
  type TensorBatch,
} from './encoders/module-encoder.js';
export {
  AcrossSegments,
  type Across,
  type AcrossOptions,
  type SegmentStepResult,
} from './language/across-segments.js';
export type { SegmentStepOptions } from './language/agreed-step.js';
export { alternating, type AlternatingGradients, type AlternatingOptions } from './language/alternating.js';
export {
  exactGradients,
  type ExactGradients,
  type ExactOptions,
  type RetainSegments,
} from './language/exact.js';
export { syntheticGradients, type SyntheticGradients, type SyntheticOptions } from './language/synthetic.js';
export type { GenerateOptions } from './language/generation.js';
export { LanguageModel, type LanguageModelOptions, type LogLikelihoods } from './language/language-model.js';
export type { LanguagePass } from './language/native-pass.js';
export type { Cell, LanguageModelSettings, NewLanguageModel } from './language/language-settings.js';
export type { Learnt } from './language/synthesiser-learner.js';
export type { PerceptronSettings } from './language/perceptron-synthesiser.js';
export type { RecurrentSettings } from './language/recurrent-synthesiser.js';
export type { Synthesiser } from './language/synthesiser.js';
export {
  ModuleSegmentModel,
  type SegmentModule,
  type SegmentTensors,
} from './language/module-segment-model.js';
export type {
  Carried,
  Segment,
  SegmentModel,
  SegmentOptions,
  SegmentPass,
  State,
} from './language/segment-model.js';
export type {
  AnyEncoder,
  Chunk,
  EncodedChunk,
  Encoder,
  ForwardOptions,
  PackedBatch,
  ReplayTicket,
  StepInputs,
} from './step/encoder.js';
export type { Retain } from './step/retention.js';
export type { Reduction } from './distributed/reduction.js';
export type { Exchange } from './step/exchange.js';
export { planChunks, type ChunkSize, type FixedChunkSize, type PlannedChunk } from './step/chunk-plan.js';
export {
  Tokenizer,
  type Filling,
  type TextPair,
  type TokenBatch,
  type WindowBatch,
} from './tokenizer/tokenizer.js';
export type { Prompt } from './encoders/prompts.js';
export type { Pooling, SpladePooling, TokenPooling } from './model-folder/model-folder.js';
export type { SparseRows } from './encoders/sparse-rows.js';
export type { LateInteraction, QueryExpansion, TextTask } from './model-folder/late-interaction.js';
export { readSafetensors, writeSafetensors, type StoredTensor } from './safetensors/safetensors.js';
export { anglE, type AnglEOptions } from './losses/angle.js';
export { batchAllTriplet } from './losses/batch-all-triplet.js';
export { batchHardSoftMarginTriplet, batchHardTriplet } from './losses/batch-hard-triplet.js';
export { batchSemiHardTriplet } from './losses/batch-semi-hard-triplet.js';
export type { BatchDistance, BatchTripletOptions } from './losses/batch-triplets.js';
export { contrastive, type ContrastiveOptions } from './losses/contrastive.js';
export { coSENT, type CoSENTOptions, type CoSENTSettings } from './losses/cosent.js';
export { cosineSimilarity, type CosineSimilarityOptions } from './losses/cosine-similarity.js';
export {
  distillKLDiv,
  type DistillKLDivOptions,
  type DistillKLDivSettings,
} from './losses/distill-kl-div.js';
export {
  embedDistill,
  mse,
  type DistillDistance,
  type EmbedDistillOptions,
  type EmbedDistillSettings,
  type MSESettings,
  type Projection,
} from './losses/embed-distill.js';
export {
  globalOrthogonalRegularization,
  type GlobalOrthogonalRegularizationOptions,
} from './losses/global-orthogonal-regularization.js';
export { marginMSE, type MarginMSEOptions, type MarginMSESettings } from './losses/margin-mse.js';
export { onlineContrastive, type OnlineContrastiveOptions } from './losses/online-contrastive.js';
export type { Distance } from './losses/pair-scores.js';
export {
  softmaxClassification,
  type SoftmaxClassificationOptions,
  type SoftmaxClassificationSettings,
} from './losses/softmax-classification.js';
export { triplet, type TripletOptions } from './losses/triplet.js';
export { infoNCE, type InfoNCELoss, type InfoNCEOptions, type InfoNCESettings } from './losses/info-nce.js';
export type { TrainedLoss } from './losses/loss-kind.js';
export type { LossConfig } from './losses/loss-kinds.js';
export {
  multipleNegativesRanking,
  type MultipleNegativesRankingOptions,
  type MultipleNegativesRankingSettings,
} from './losses/multiple-negatives-ranking.js';
export type { Direction, HardnessMode, RankingOptions, RankingSettings } from './losses/ranking.js';
export type { LossPrecision, PrecisionSettings } from './losses/precision.js';
export { ntXent, type NTXentOptions, type NTXentSettings } from './losses/nt-xent.js';
export {
  crossBatchMemory,
  type CrossBatchMemory,
  type CrossBatchMemoryOptions,
} from './losses/cross-batch-memory.js';
export type { Identity } from './losses/memory-rows.js';
export {
  distanceHead,
  type DistanceHead,
  type DistanceHeadLoss,
  type DistanceHeadOptions,
} from './losses/distance-head.js';
export { gistEmbed, type GISTEmbedOptions, type GISTEmbedSettings } from './losses/gist-embed.js';
export type { GuideEncoder } from './losses/loss-kind.js';
export { megaBatchMargin, type MegaBatchMarginOptions } from './losses/mega-batch-margin.js';
export { multiSimilarity, type MultiSimilarityOptions } from './losses/multi-similarity.js';
export { supCon, type SupConOptions, type SupConSettings } from './losses/sup-con.js';
export {
  adaptiveLayer,
  matryoshka2d,
  type AdaptiveLayerOptions,
  type LayerWeighting,
} from './losses/adaptive-layer.js';
export {
  contrastiveTension,
  contrastiveTensionInBatch,
  type ContrastiveTensionInBatchOptions,
} from './losses/contrastive-tension.js';
export { matryoshka, type MatryoshkaOptions } from './losses/matryoshka.js';
export { pairWeighting, type PairWeightingOptions, type PairWeights } from './losses/pair-weighting.js';
export { sccl, targetDistribution, type SCCLLoss, type SCCLOptions } from './losses/sccl.js';
export {
  multiVectorMultipleNegativesRanking,
  type MultiVectorRankingOptions,
} from './losses/multi-vector-multiple-negatives-ranking.js';
export {
  multiVectorDistillKLDiv,
  type MultiVectorDistillOptions,
} from './losses/multi-vector-distill-kl-div.js';
export { multiVectorMarginMSE } from './losses/multi-vector-margin-mse.js';
export type { InteractionOptions } from './losses/token-loss.js';
export { MomentumEncoder } from './encoders/momentum-encoder.js';
export { flops, type FlopsOptions } from './losses/flops.js';
export { regularizerWarmUp, splade, type SpladeOptions } from './losses/splade.js';
export { binaryCrossEntropy, type BinaryCrossEntropyOptions } from './losses/binary-cross-entropy.js';
export { crossEntropy, type CrossEntropyOptions } from './losses/cross-entropy.js';
export { crossEncoderRanking, type CrossEncoderRankingOptions } from './losses/cross-encoder-ranking.js';
export { scoreMSE, type ScoreMSEOptions } from './losses/score-mse.js';
export { scoreMarginMSE, type ScoreMarginMSEOptions } from './losses/score-margin-mse.js';
export {
  lambdaLoss,
  type LambdaLossOptions,
  type LambdaWeighting,
  type RankNetOptions,
} from './losses/lambda-loss.js';
export { rankNet } from './losses/rank-net.js';
export { listNet, type ListNetOptions } from './losses/list-net.js';
export { listMLE } from './losses/list-mle.js';
export { pListMLE, type ListMLEOptions, type PListMLEOptions } from './losses/p-list-mle.js';
export { adrMSE, type ADRMSEOptions } from './losses/adr-mse.js';
export type { LogitActivation } from './losses/pair-loss.js';
export { loadLoss, saveLoss } from './losses/stored-loss.js';
export { sigLIP, type SigLIPLoss, type SigLIPOptions, type SigLIPSettings } from './losses/siglip.js';
export type {
  Loss,
  LossFunction,
  LossGradients,
  LossOptions,
  LossShare,
  LossWithGradients,
} from './losses/loss.js';
export { AdamW, type AdamWOptions, type AdamWSettings } from './optim/adamw.js';
export { RAdam, type RAdamOptions, type RAdamSettings } from './optim/radam.js';
export type { Optimizer } from './optim/optimizer.js';
export type { OptimizerConfig } from './optim/optimizer-kinds.js';
export type { MasterWeights } from './optim/slot-optimizer-parts.js';
export type { ParameterGroup } from './optim/slots.js';
export { clipGradNorm } from './optim/clip.js';
export {
  constantSchedule,
  cosineSchedule,
  linearSchedule,
  type Schedule,
  type ScheduleOptions,
} from './optim/schedules.js';
export { restartSchedule, type RestartScheduleOptions, type Restarts } from './optim/restarts.js';
export { batches, type Batch, type BatchOptions } from './data/batches.js';
export type { RankPlace } from './data/deal.js';
export { lengthCurriculum, type LengthCurriculumOptions } from './data/length-curriculum.js';
export type { Fill } from './data/room.js';
export { spanMasking, type SpanMaskingOptions } from './data/span-masking.js';
export { rankingPairs, type RankingPairs, type RankingPairsOptions } from './data/ranking-pairs.js';
export { prefetch } from './data/prefetch.js';
export type { DataFormat } from './data/record-options.js';
export { readPairs, type Dataset, type ReadOptions } from './data/read-pairs.js';
export type { Quoting } from './data/quoting.js';
export type { Label, LabelOptions } from './data/labels.js';
export type { LabelType } from './options/label-type.js';
export type { BadLine, LabelledRow, LabelledRowSource, Row, RowSource } from './data/row.js';
export { averageRanks, pearson, spearman } from './evaluation/correlation.js';
export { cachedEncoder, type CachedEncoderOptions } from './evaluation/cached-encoder.js';
export type { EncodesTexts } from './evaluation/encode-texts.js';
export type { RetrievalTask } from './evaluation/retrieval-task.js';
export {
  evaluateRetrieval,
  scoreRanking,
  type RetrievalOptions,
  type RetrievalScores,
} from './evaluation/retrieval.js';
export type { RetrievalMeasure } from './evaluation/retrieval-measures.js';
export { flattenScores } from './evaluation/scores.js';
export type { Ranking, SearchOptions } from './evaluation/exact-search.js';
export { search } from './evaluation/search.js';
export type { Similarity } from './options/similarity.js';
export {
  evaluateReranking,
  type RerankingOptions,
  type RerankingQuery,
  type RerankingScores,
  type RerankingTask,
} from './evaluation/reranking.js';
export type { ScoresPairs } from './evaluation/scores-pairs.js';
export type { RankMeasures } from './evaluation/rank-measures.js';
export { readReranking } from './evaluation/reranking-data.js';
export { evaluateSts, type StsOptions, type StsScores, type StsTask } from './evaluation/sts.js';
export {
  evaluateClustering,
  type ClusteringOptions,
  type ClusteringScores,
  type ClusteringTask,
} from './evaluation/clustering.js';
export { clusteringAccuracy, normalizedMutualInformation } from './evaluation/cluster-agreement.js';
export { evaluateBinary, type BinaryScores, type BinaryTask } from './evaluation/binary.js';
export {
  evaluateTriplets,
  type TripletEvaluationOptions,
  type TripletScores,
  type TripletTask,
} from './evaluation/triplets.js';
export {
  evaluateTranslation,
  type TranslationOptions,
  type TranslationScores,
  type TranslationTask,
} from './evaluation/translation.js';
export { evaluateMse, type MseOptions, type MseScores, type MseTask } from './evaluation/mse.js';
export { kMeans, type Clusters, type KMeansOptions } from './evaluation/k-means.js';
export type { Hardest, HardestPairs, HardestQueries, HardPair, HardQuery } from './evaluation/hardest.js';
export { readRetrievalFolder, type BeirTask } from './evaluation/beir.js';
export {
  readBinary,
  readClustering,
  readRetrievalPairs,
  readSts,
  readTranslation,
  readTriplets,
  type TaskOptions,
} from './evaluation/tasks.js';
export { mineHardNegatives, type MinedNegatives } from './mining/mine.js';
export type { MinedFormat, MiningOptions } from './mining/options.js';
export type { MinedRow } from './mining/mined-rows.js';
export type { MiningStatistics, Spread } from './mining/statistics.js';
export type {
  CurriculumConfig,
  AdaptiveLayerConfig,
  MatryoshkaConfig,
  MemoryConfig,
  NewModel,
  PromptWords,
  ResumeConfig,
  TrainConfig,
} from './training/config.js';
export type { CheckpointConfig } from './training/checkpoint-settings.js';
export type { EvaluationConfig, HeldOutSetConfig } from './training/evaluation-config.js';
export type { ModelSnapshot } from './model-folder/model-snapshot.js';
export type {
  BestMeasurement,
  ChunkEvent,
  EvaluationEvent,
  FetchEvent,
  ReadingEvent,
  NoteEvent,
  SavedEvent,
  SkippedEvent,
  SkippedTotalEvent,
  StartEvent,
  StepEvent,
  TrainEvent,
  TrainResult,
  UpdateEvent,
} from './training/events.js';
export { train, type TrainHooks } from './training/train.js';
export type { Evaluator, TrainConfigWithObjects } from './training/objects.js';
export { writeReport, type ReportOptions } from './report/write-report.js';
export type { LanguageResumeConfig, LanguageTrainConfig } from './training/language/config.js';
export type {
  LanguageStartEvent,
  LanguageStepEvent,
  LanguageTrainEvent,
  LanguageTrainResult,
} from './training/language/events.js';
export { trainLanguage, type LanguageTrainHooks } from './training/language/train-language.js';
export type { AcrossConfig } from './language/across-kinds.js';
export { shuffle, type ShuffleOptions } from './data/shuffle.js';
export { serve, type ModelServer, type ServeOptions } from './serve/serve.js';
