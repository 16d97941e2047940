/** Every option of every exported function and method, with values of every type that it does not take. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as gradcache from '../../lib/index.js';
import { smallTokenizer } from '../exactness/small-tokenizer.js';
import { tenTexts, textEncoder, whole } from '../exactness/support.js';
import { membersOf } from './members.js';

type Type =
  'null' | 'text' | 'number' | 'boolean' | 'object' | 'list' | 'function' | 'symbol' | 'bigint' | 'map';

const VALUES: readonly (readonly [Type, unknown])[] = [
  ['null', null],
  ['text', 'no'],
  ['text', '1'],
  ['number', 1],
  ['number', 0],
  ['number', NaN],
  ['boolean', true],
  ['boolean', false],
  ['object', {}],
  ['list', []],
  ['list', [1]],
  ['function', () => 1],
  ['symbol', Symbol('1')],
  ['bigint', 1n],
  ['map', new Map()],
];

/** A call with options, and for each option the types that it takes. */
interface Taker {
  readonly call: (options: never) => unknown;
  readonly options: Readonly<Record<string, readonly Type[]>>;
  /** What must be given beside the option that is tried. */
  readonly base?: object;
}

const {
  CrossEncoder,
  GradCache,
  ImageEncoder,
  ImageTextModel,
  infoNCE,
  LanguageModel,
  TextEncoder,
  Tensor,
  ModuleEncoder,
  AdamW,
} = gradcache;

const config = {
  model_type: 'bert',
  vocab_size: 97,
  hidden_size: 12,
  num_hidden_layers: 1,
  num_attention_heads: 3,
  intermediate_size: 7,
};
const tokenizer = await smallTokenizer(97);
const encoder = await textEncoder('float32');
const copy = await textEncoder('float32');
const perToken = TextEncoder.create(config, tokenizer, { pooling: 'none' });
const sparse = TextEncoder.create(config, tokenizer, { pooling: 'splade' });
const cross = CrossEncoder.create(config, tokenizer);
const vit = { ...config, model_type: 'vit', image_size: 4, patch_size: 2 };
const images = ImageEncoder.create(vit);
const pixels = Tensor.fromBytes(new Uint8Array(48), { shape: [1, 3, 4, 4], dtype: 'uint8' });
const { seed: _, ...chunk } = whole(encoder, tenTexts(1))[0]!;
const weight = Tensor.from([1, 2, 3, 4], { shape: [2, 2] });
weight.requiresGrad = true;
const parameters = [{ name: 'weight', tensor: weight, decay: true }];
const module = new ModuleEncoder({ forward: (input) => input.matmul(weight), parameters: () => parameters });
const steps = new GradCache({ encoders: [encoder, encoder], loss: infoNCE() });
const rows = Tensor.from([1, 2, 3, 4], { shape: [2, 2] });
const language = LanguageModel.create({ vocabulary: 3, layers: 1, width: 4 });
const segment = { rows: 1, inputs: Int32Array.of(1, 2), targets: Int32Array.of(2, 0) };
const across = new gradcache.AcrossSegments(language, { across: 'none' });
const clustering = { texts: ['w1', 'w2', 'w3'], labels: ['a', 'b', 'a'] };
const sts = { first: ['w1', 'w2'], second: ['w3', 'w4'], scores: [1, 2] };
const ranked = { anchors: ['w1'], positives: ['w2'], negatives: ['w3'] };
const reranking = { queries: [{ query: 'w1', positive: ['w2'], negative: ['w3'] }] };
const retrieval = { queries: ['w1'], documents: ['w1', 'w2'], relevant: [new Map([[0, 1]])] };

const schedule = {
  options: { lr: ['number'], warmup: ['number'], total: ['number'], final: ['number'] },
  base: { lr: 1, total: 10 },
} as const;
const forward = {
  options: { seed: ['number'], retain: ['boolean'], group: ['number'], evaluation: ['boolean'] },
  base: { seed: 1 },
} as const;
const synthetic = {
  synthesiser: [],
  factor: ['number'],
  lr: ['number'],
  noise: ['number'],
  auxiliary: ['number'],
  seed: ['number'],
} as const;
const towers = { device: ['text'], precision: ['text'], dropout: ['number'] } as const;
const loading = {
  device: ['text'],
  precision: ['text'],
  maxLength: ['number'],
  dropout: ['number'],
  drophead: ['number'],
  frozen: ['list'],
  embeddingGradients: [],
  weights: [],
} as const;

const pushing = {
  private: ['boolean'],
  message: ['text'],
  card: ['text'],
  signal: [],
  onProgress: ['function'],
  onWait: ['function'],
} as const;
const loadingText = {
  ...loading,
  pooling: [],
  splade: ['object'],
  projection: ['number'],
  lateInteraction: ['object'],
  layers: ['list'],
  seed: ['number'],
} as const;
const adapting = {
  rank: ['number'],
  alpha: ['number'],
  dropout: ['number'],
  targetModules: ['text', 'list'],
  excludeModules: ['text', 'list'],
  layers: ['list'],
  rankPattern: ['object'],
  alphaPattern: ['object'],
  rankStabilized: ['boolean'],
  modulesToSave: ['list'],
  bias: ['text'],
} as const;
const creatingText = {
  call: (options: never) => TextEncoder.create(config, tokenizer, options).dispose(),
  options: { ...loadingText, normalize: ['boolean'] },
} as const;
const windowed = {
  windows: ['boolean', 'object'],
  prompt: ['text'],
  tokensPerChunk: ['number'],
  signal: [],
} as const;
const predicting = { ...windowed, activation: [] } as const;
const triplets = { distance: [], margin: ['number'] } as const;
const lambda = {
  k: ['number'],
  sigma: ['number'],
  epsilon: ['number'],
  logarithm: [],
  activation: [],
} as const;

const ranking = {
  similarity: [],
  directions: [],
  partitionMode: [],
  hardnessMode: ['null'],
  hardnessStrength: ['number'],
  margin: ['number'],
  labelSmoothing: ['number'],
  precision: [],
} as const;

/** By the name of an export, or of a method; null: it takes no options. */
const TAKERS: Readonly<Record<string, Taker | null>> = {
  GradCacheError: null,
  call: null,
  callAsync: null,
  schema: null,
  backward: null,
  noGrad: null,
  withGrad: null,
  withSeed: null,
  tidy: null,
  devices: null,
  emptyCache: null,
  memory: null,
  resetPeakMemory: null,
  synchronize: null,
  threads: null,
  useLibtorch: null,
  push: { call: (options) => gradcache.push('/nowhere', 'no', options), options: pushing },
  exportOnnx: {
    call: (options) => gradcache.exportOnnx('/nowhere', '/nowhere/out', options),
    options: {
      precisions: ['list'],
      pooling: [],
      baseModel: ['text'],
      route: ['text'],
      signal: [],
      onProgress: ['function'],
    },
  },
  'TextEncoder.push': { call: (options) => encoder.push('no', options), options: pushing },
  'CrossEncoder.push': { call: (options) => cross.push('no', options), options: pushing },
  serve: {
    call: async (options) => (await gradcache.serve(encoder, options)).close(),
    options: {
      host: ['text'],
      port: ['number'],
      name: ['text'],
      apiKey: ['text', 'list'],
      truncate: ['boolean'],
      windows: ['boolean', 'object'],
      batchTokens: ['number'],
      maxBody: ['number'],
      maxTexts: ['number'],
      maxQueue: ['number'],
      maxRequests: ['number'],
      signal: [],
      onError: ['function'],
    },
    base: { port: 0 },
  },
  pull: {
    call: (options) => gradcache.pull('no/../name', options),
    options: { kind: [], renew: ['boolean'], signal: [], onProgress: ['function'], onWait: ['function'] },
  },
  planChunks: null,
  RepresentationCache: null,
  'RepresentationCache.compute': null, // its options are the loss's
  'RepresentationCache.valueOf': null, // its options are the loss's
  regularizerWarmUp: null,
  clipGradNorm: null,
  averageRanks: null,
  pearson: null,
  spearman: null,
  scoreRanking: null,
  flattenScores: null,
  readSafetensors: null,
  writeSafetensors: null,
  saveLoss: null,
  loadLoss: null,
  readRetrievalFolder: null,
  train: null, // a configuration: test/training/read-config.test.ts
  Tokenizer: null,
  Tensor: null,
  contrastiveTension: null,
  TextEncoder: null,
  CrossEncoder: null,
  ImageEncoder: null,
  CaptionEncoder: null,
  ImageTextModel: null,
  // One of captions comes from a folder: test/oracle/pictures.test.ts has its options.
  'CaptionEncoder.encode': null,
  'CaptionEncoder.forwardChunk': null,
  'ImageTextModel.save': null,
  'ImageTextModel.snapshot': null,
  'ImageTextModel.create': null, // as ImageEncoder.create: test/training/pictures.test.ts
  'ImageEncoder.load': { call: (options) => ImageEncoder.load('/nowhere', options), options: towers },
  'ImageTextModel.load': { call: (options) => ImageTextModel.load('/nowhere', options), options: towers },
  'ImageEncoder.create': {
    call: (options) => ImageEncoder.create(vit, options).dispose(),
    options: { ...towers, seed: ['number'] },
  },
  'ImageEncoder.read': {
    call: (options) => images.read(['/nowhere/a.png'], options),
    options: { onBadPicture: [] },
  },
  'ImageEncoder.encode': {
    call: (options) => images.encode(['/nowhere/a.png'], options),
    options: { picturesPerChunk: ['number'], signal: [] },
  },
  'ImageEncoder.forwardChunk': {
    ...forward,
    call: (options) => images.forwardChunk({ batch: pixels, rows: Int32Array.of(0), tokens: 1 }, options),
  },
  LanguageModel: null,
  ModuleSegmentModel: null,
  trainLanguage: null, // a configuration, as for train
  clusteringAccuracy: null,
  normalizedMutualInformation: null,
  targetDistribution: null,
  ModuleEncoder: null,
  Ranks: null,
  'Ranks.join': {
    call: (options) => gradcache.Ranks.join(options),
    options: { device: ['text'], timeout: ['number'], from: [] },
  },
  'Tensor.from': {
    call: (options) => Tensor.from([1, 2], options),
    options: { shape: ['list'], dtype: ['text'], device: ['text'] },
  },
  'Tensor.fromBytes': {
    call: (options) => Tensor.fromBytes(new Uint8Array(2), options),
    options: { shape: ['list'], dtype: ['text'], device: ['text'] },
    base: { shape: [2], dtype: 'uint8' },
  },
  'Tensor.to': { call: (options) => weight.to(options), options: { dtype: ['text'], device: ['text'] } },
  GradCache: {
    call: (options) => new GradCache(options),
    options: {
      encoders: ['list'],
      loss: ['function'],
      chunk: ['text'],
      retain: [],
      accumulate: ['number'],
      seed: ['number'],
      curate: ['function'],
      ranks: ['null'],
      reduction: ['object', 'map'],
      exchange: ['text'],
    },
    base: { encoders: [encoder, encoder], loss: infoNCE() },
  },
  'GradCache.step': {
    call: (options) => steps.step([tenTexts(1), tenTexts(2)], options),
    options: {
      signal: [],
      onProgress: ['function'],
      loss: ['object', 'map'],
      seed: ['number'],
      redraw: ['function'],
    },
  },
  'GradCache.lossOf': {
    call: (options) => steps.lossOf([tenTexts(1), tenTexts(2)], options),
    options: { signal: [], loss: ['object', 'map'] },
  },
  infoNCE: {
    call: (options) => infoNCE(options),
    options: { temperature: ['number'], symmetric: ['boolean'], bias: ['number'], ...ranking },
  },
  multipleNegativesRanking: {
    call: (options) => gradcache.multipleNegativesRanking(options),
    options: { scale: ['number'], ...ranking },
  },
  'infoNCE, a learned temperature': {
    call: (options) => infoNCE({ temperature: options }),
    options: { initial: ['number'], learned: ['boolean'], bounds: [] },
    base: { initial: 0.1, learned: true },
  },
  sigLIP: {
    call: (options) => gradcache.sigLIP(options),
    options: { scale: ['number'], bias: ['number'], learned: ['boolean'], similarity: [], precision: [] },
  },
  AdamW: {
    call: (options) => new AdamW(parameters, options),
    options: {
      lr: ['number'],
      betas: [],
      eps: ['number'],
      weightDecay: ['number'],
      maxGradNorm: ['number'],
      ranks: ['null'],
      masterWeights: [],
      seed: ['number'],
    },
    base: { lr: 1 },
  },
  'AdamW, a group': {
    call: (options) => new AdamW([options], { lr: 1 }),
    options: { parameters: [], lrScale: ['number'], weightDecay: ['number'] },
    base: { parameters },
  },
  linearSchedule: { ...schedule, call: (options) => gradcache.linearSchedule(options) },
  cosineSchedule: { ...schedule, call: (options) => gradcache.cosineSchedule(options) },
  constantSchedule: {
    call: (options) => gradcache.constantSchedule(options),
    options: { lr: ['number'], warmup: ['number'] },
    base: { lr: 1 },
  },
  'TextEncoder.load': {
    call: (options) => TextEncoder.load('/nowhere', options),
    options: { ...loadingText, route: [], lora: ['object'], baseModel: ['text'] },
  },
  'TextEncoder.load, adapters': {
    call: (lora) => TextEncoder.load('/nowhere', { lora }),
    options: adapting,
  },
  'TextEncoder.load, a representation for each token': {
    call: (options) => TextEncoder.load('/nowhere', options),
    options: { ...loadingText, route: [], lora: ['object'], baseModel: ['text'] },
    base: { pooling: 'none' },
  },
  'TextEncoder.create': creatingText,
  'TextEncoder.create, a representation for each token': { ...creatingText, base: { pooling: 'none' } },
  'TextEncoder.create, sparse': { ...creatingText, base: { pooling: 'splade' } },
  'TextEncoder.saveRoutes': {
    call: (options) =>
      TextEncoder.saveRoutes('/nowhere/model', { query: encoder, document: encoder, ...(options as object) }),
    options: { query: ['object'], document: ['object'] },
  },
  'TextEncoder.tokenize': {
    call: (options) => encoder.tokenize(['w1'], options),
    options: { prompt: ['text'], maxLength: ['number'], task: [] },
  },
  'TextEncoder.tokenize, a representation for each token': {
    call: (options) => perToken.tokenize(['w1'], options),
    options: { prompt: ['text'], maxLength: ['number'], task: [] },
  },
  'TextEncoder.encodeQuery': {
    call: (options) => encoder.encodeQuery(['w1'], options),
    options: { prompt: ['text'], dimensions: ['number'], tokensPerChunk: ['number'], signal: [] },
  },
  'TextEncoder.encodeDocument': {
    call: (options) => encoder.encodeDocument(['w1'], options),
    options: { prompt: ['text'], dimensions: ['number'], tokensPerChunk: ['number'], signal: [] },
  },
  'TextEncoder.encodeTokens': {
    call: (options) => perToken.encodeTokens(['w1'], options),
    options: { ...windowed, task: [] },
  },
  'TextEncoder.encodeSparse': {
    call: (options) => sparse.encodeSparse(['w1'], options),
    options: { ...windowed, task: [] },
  },
  'CrossEncoder.load': {
    call: (options) => CrossEncoder.load('/nowhere', options),
    options: { ...loading, newHead: ['object'] },
  },
  'CrossEncoder.load, a new head': {
    call: (options) => CrossEncoder.load('/nowhere', { newHead: options }),
    options: { labels: ['number'], seed: ['number'] },
  },
  'CrossEncoder.create': {
    call: (options) => CrossEncoder.create(config, tokenizer, options).dispose(),
    options: { ...loading, labels: ['number'], seed: ['number'] },
  },
  'CrossEncoder.tokenize': {
    call: (options) => cross.tokenize([['w1', 'w2']], options),
    options: { prompt: ['text'], maxLength: ['number'] },
  },
  'CrossEncoder.predict': {
    call: (options) => cross.predict([['w1', 'w2']], options),
    options: predicting,
  },
  'CrossEncoder.rank': {
    call: (options) => cross.rank('w1', ['w2'], options),
    options: { ...predicting, top: ['number'] },
  },
  'CrossEncoder.save': {
    call: (options) => cross.save('/nowhere/model', options),
    options: { maxLength: ['number'] },
  },
  'CrossEncoder.forwardChunk': {
    ...forward,
    call: (options) => cross.forwardChunk(chunk as never, options),
  },
  'TextEncoder.encode': {
    call: (options) => encoder.encode(['w1'], options),
    options: { prompt: ['text'], task: [], dimensions: ['number'], tokensPerChunk: ['number'], signal: [] },
  },
  'TextEncoder.save': {
    call: (options) => encoder.save('/nowhere/model', options),
    options: { maxLength: ['number'], dimensions: ['number'] },
  },
  'TextEncoder.forwardChunk': {
    ...forward,
    call: (options) => encoder.forwardChunk(chunk as never, options),
  },
  AcrossSegments: {
    call: (options) => new gradcache.AcrossSegments(language, options),
    options: { across: [], seed: ['number'], ranks: ['null'] },
    base: { across: 'none' },
  },
  'AcrossSegments.step': {
    call: (options) => across.step([segment], options),
    options: { weight: ['number'], seed: ['number'], signal: [] },
  },
  exactGradients: { call: (options) => gradcache.exactGradients(options), options: { retain: [] } },
  syntheticGradients: { call: (options) => gradcache.syntheticGradients(options), options: synthetic },
  alternating: {
    call: (options) => gradcache.alternating(options),
    options: { ...synthetic, restarts: [], real: [] },
    base: { restarts: { first: 2 } },
  },
  restartSchedule: {
    call: (options) => gradcache.restartSchedule(options),
    options: { lr: ['number'], restarts: [], final: ['number'] },
    base: { lr: 1, restarts: { first: 2 } },
  },
  'ModuleSegmentModel.forwardSegment': null, // called by AcrossSegments, which fills them in
  RAdam: {
    call: (options) => new gradcache.RAdam(parameters, options),
    options: {
      lr: ['number'],
      betas: [],
      eps: ['number'],
      weightDecay: ['number'],
      maxGradNorm: ['number'],
      ranks: ['null'],
      masterWeights: [],
      seed: ['number'],
    },
    base: { lr: 1 },
  },
  MomentumEncoder: {
    call: (options) => new gradcache.MomentumEncoder(encoder, copy, options),
    options: { momentum: ['number'] },
  },
  'MomentumEncoder.forwardChunk': {
    ...forward,
    call: (options) => new gradcache.MomentumEncoder(encoder, copy).forwardChunk(chunk as never, options),
  },
  crossBatchMemory: {
    call: (options) => gradcache.crossBatchMemory(infoNCE(), options),
    options: {
      capacity: ['number'],
      start: ['number'],
      tower: ['number'],
      joins: ['boolean'],
      passIds: ['boolean'],
    },
    base: { capacity: 10 },
  },
  ntXent: {
    call: (options) => gradcache.ntXent(options),
    options: { temperature: ['number'], similarity: [], precision: [] },
  },
  adrMSE: {
    call: (options) => gradcache.adrMSE(options),
    options: { alpha: ['number'], activation: [] },
  },
  anglE: { call: (options) => gradcache.anglE(options), options: { scale: ['number'] } },
  batchAllTriplet: { call: (options) => gradcache.batchAllTriplet(options), options: triplets },
  batchHardTriplet: { call: (options) => gradcache.batchHardTriplet(options), options: triplets },
  batchSemiHardTriplet: { call: (options) => gradcache.batchSemiHardTriplet(options), options: triplets },
  batchHardSoftMarginTriplet: {
    call: (options) => gradcache.batchHardSoftMarginTriplet(options),
    options: { distance: [] },
  },
  binaryCrossEntropy: {
    call: (options) => gradcache.binaryCrossEntropy(options),
    options: { positiveWeight: ['number'], activation: [] },
  },
  coSENT: {
    call: (options) => gradcache.coSENT(options),
    options: { scale: ['number'], similarity: [] },
  },
  contrastive: {
    call: (options) => gradcache.contrastive(options),
    options: { ...triplets, average: ['boolean'] },
  },
  onlineContrastive: { call: (options) => gradcache.onlineContrastive(options), options: triplets },
  triplet: { call: (options) => gradcache.triplet(options), options: triplets },
  cosineSimilarity: {
    call: (options) => gradcache.cosineSimilarity(options),
    options: { transform: ['function'], error: ['function'] },
  },
  crossEncoderRanking: {
    call: (options) => gradcache.crossEncoderRanking(options),
    options: { scale: ['number'], activation: [] },
  },
  crossEntropy: {
    call: (options) => gradcache.crossEntropy(options),
    options: { weights: ['list'], labelSmoothing: ['number'], activation: [] },
  },
  distillKLDiv: {
    call: (options) => gradcache.distillKLDiv(options),
    options: {
      similarity: [],
      temperature: ['number'],
      studentTemperature: ['number', 'null'],
      teacherTemperature: ['number', 'null'],
    },
  },
  embedDistill: {
    call: (options) => gradcache.embedDistill(options),
    options: { distance: [], projection: ['null'] },
  },
  mse: { call: (options) => gradcache.mse(options), options: { projection: ['null'] } },
  'mse, a projection': {
    call: (options) => gradcache.mse({ projection: options }),
    options: { to: ['number'], from: ['number'], seed: ['number'], dtype: [], device: [] },
    base: { to: 2, from: 2 },
  },
  flops: { call: (options) => gradcache.flops(options), options: { threshold: ['null', 'number'] } },
  globalOrthogonalRegularization: {
    call: (options) => gradcache.globalOrthogonalRegularization(options),
    options: { similarity: [], meanWeight: ['number'], secondMomentWeight: ['number'], aggregation: [] },
  },
  lambdaLoss: {
    call: (options) => gradcache.lambdaLoss(options),
    options: { ...lambda, weighting: [], mu: ['number'] },
  },
  rankNet: { call: (options) => gradcache.rankNet(options), options: lambda },
  listMLE: { call: (options) => gradcache.listMLE(options), options: { order: [], activation: [] } },
  pListMLE: {
    call: (options) => gradcache.pListMLE(options),
    options: { discount: ['function'], order: [], activation: [] },
  },
  listNet: { call: (options) => gradcache.listNet(options), options: { activation: [] } },
  marginMSE: { call: (options) => gradcache.marginMSE(options), options: { similarity: [] } },
  multiVectorDistillKLDiv: {
    call: (options) => gradcache.multiVectorDistillKLDiv(options),
    options: {
      similarity: [],
      topK: ['number'],
      temperature: ['number'],
      studentTemperature: ['number', 'null'],
      teacherTemperature: ['number', 'null'],
    },
  },
  multiVectorMarginMSE: {
    call: (options) => gradcache.multiVectorMarginMSE(options),
    options: { similarity: [], topK: ['number'] },
  },
  multiVectorMultipleNegativesRanking: {
    call: (options) => gradcache.multiVectorMultipleNegativesRanking(options),
    options: { scale: ['number'], similarity: [], topK: ['number'] },
  },
  scoreMSE: { call: (options) => gradcache.scoreMSE(options), options: { activation: [] } },
  scoreMarginMSE: { call: (options) => gradcache.scoreMarginMSE(options), options: { activation: [] } },
  softmaxClassification: {
    call: (options) => gradcache.softmaxClassification(options),
    options: {
      dimension: ['number'],
      classes: ['number'],
      representations: ['boolean'],
      difference: ['boolean'],
      product: ['boolean'],
      seed: ['number'],
      dtype: [],
      device: [],
    },
    base: { dimension: 2, classes: 2 },
  },
  splade: {
    call: (options) => gradcache.splade(infoNCE(), options),
    options: {
      documentRegularizerWeight: ['number'],
      queryRegularizerWeight: ['number', 'null'],
      documentRegularizerThreshold: ['number', 'null'],
      queryRegularizerThreshold: ['number', 'null'],
      useDocumentRegularizerOnly: ['boolean'],
    },
    base: { documentRegularizerWeight: 1 },
  },
  supCon: {
    call: (options) => gradcache.supCon(options),
    options: { temperature: ['number'], similarity: [] },
  },
  multiSimilarity: {
    call: (options) => gradcache.multiSimilarity(options),
    options: { alpha: ['number'], beta: ['number'], base: ['number'], epsilon: ['number', 'null'] },
  },
  megaBatchMargin: {
    call: (options) => gradcache.megaBatchMargin(options),
    options: { positiveMargin: ['number'], negativeMargin: ['number'] },
  },
  gistEmbed: {
    call: (options) => gradcache.gistEmbed(options),
    options: {
      guide: ['null'],
      temperature: ['number'],
      marginStrategy: [],
      margin: ['number'],
      threshold: ['number', 'null'],
      contrastAnchors: ['boolean'],
      contrastPositives: ['boolean'],
    },
  },
  matryoshka: {
    call: (options) => gradcache.matryoshka(infoNCE(), options),
    options: { dimensions: ['list'], weights: ['list'], dimensionsPerStep: ['number'], seed: ['number'] },
    base: { dimensions: [2] },
  },
  contrastiveTensionInBatch: {
    call: (options) => gradcache.contrastiveTensionInBatch(options),
    options: { scale: ['number'], similarity: [] },
  },
  adaptiveLayer: {
    call: (options) => gradcache.adaptiveLayer(infoNCE(), options),
    options: {
      layers: ['list'],
      layersPerStep: ['number'],
      lastLayerWeight: ['number'],
      priorLayersWeight: ['number'],
      klWeight: ['number'],
      klTemperature: ['number'],
      layerWeighting: ['function'],
      seed: ['number'],
    },
    base: { layers: [2, 0, 1] },
  },
  matryoshka2d: {
    call: (options) => gradcache.matryoshka2d(infoNCE(), options),
    options: {
      layers: ['list'],
      layersPerStep: ['number'],
      lastLayerWeight: ['number'],
      priorLayersWeight: ['number'],
      klWeight: ['number'],
      klTemperature: ['number'],
      layerWeighting: ['function'],
      dimensions: ['list'],
      weights: ['list'],
      dimensionsPerStep: ['number'],
      seed: ['number'],
    },
    base: { layers: [2, 0, 1], dimensions: [2] },
  },
  distanceHead: {
    call: (options) => gradcache.distanceHead({ forward: () => rows, parameters: () => [] }, options),
    options: { loss: ['function'], block: ['number'], seed: ['number'] },
  },
  pairWeighting: {
    call: (options) => gradcache.pairWeighting(options),
    options: { positive: ['function'], negative: ['function'] },
  },
  sccl: {
    call: (options) => gradcache.sccl(options),
    options: {
      centres: [],
      eta: ['number'],
      clustering: ['number'],
      temperature: ['number'],
      degrees: ['number'],
      width: ['number'],
      seed: ['number'],
    },
    base: { centres: rows },
  },
  lengthCurriculum: {
    call: (options) => gradcache.lengthCurriculum(options),
    options: { from: ['number'], to: ['number'], over: ['number'] },
    base: { from: 1, to: 2, over: 3 },
  },
  spanMasking: {
    call: (options) => gradcache.spanMasking(options),
    options: { mask: ['text'], characters: ['number'], least: ['number'], seed: ['number'] },
    base: { mask: '<mask>' },
  },
  kMeans: {
    call: (options) => gradcache.kMeans(rows, 2, options),
    options: { seed: ['number'], tries: ['number'], rounds: ['number'], signal: [] },
  },
  evaluateClustering: {
    call: (options) => gradcache.evaluateClustering(encoder, clustering, options),
    options: {
      clusters: ['number'],
      seed: ['number'],
      prompt: ['text'],
      dimensions: ['number'],
      signal: [],
    },
  },
  readClustering: {
    call: (options) => gradcache.readClustering('/nowhere.csv', options),
    options: { signal: [], columns: [], format: [], header: ['boolean'], quoting: [], delimiter: ['text'] },
  },
  'LanguageModel.create': {
    call: (options) => LanguageModel.create({ vocabulary: 3, layers: 1, width: 4 }, options).dispose(),
    options: { device: ['text'], precision: ['text'], seed: ['number'] },
  },
  'LanguageModel.load': {
    call: (options) => LanguageModel.load('/nowhere', options),
    options: { device: ['text'], precision: ['text'] },
  },
  'LanguageModel.forwardSegment': {
    call: (options) => language.forwardSegment(segment, language.initialState(1), options),
    options: { seed: ['number'], graph: ['boolean'] },
    base: { seed: 1, graph: false },
  },
  'LanguageModel.logLikelihoods': {
    call: (options) => language.logLikelihoods(segment, language.initialState(1), options),
    options: { window: ['number'] },
  },
  'LanguageModel.generate': {
    call: (options) => language.generate(Int32Array.of(1), options),
    options: {
      tokens: ['number'],
      temperature: ['number'],
      topK: ['number'],
      topP: ['number'],
      seed: ['number'],
      until: ['number'],
      window: ['number'],
      onToken: ['function'],
      signal: [],
    },
    base: { tokens: 1 },
  },
  'ModuleEncoder.forwardChunk': {
    ...forward,
    call: (options) => module.forwardChunk({ batch: rows, rows: Int32Array.of(0, 1), tokens: 2 }, options),
  },
  'Tokenizer.encode': {
    call: (options) => tokenizer.encode(['w1'], options),
    options: { maxLength: ['number'], prefix: ['text'] },
    base: { maxLength: 10 },
  },
  'Tokenizer.encodePairs': {
    call: (options) => tokenizer.encodePairs([['w1', 'w2']], options),
    options: { maxLength: ['number'], prefix: ['text'] },
    base: { maxLength: 10 },
  },
  'CrossEncoder.tokenizeWindows': {
    call: (options) => cross.tokenizeWindows([['w1', 'w2']], options),
    options: { prompt: ['text'], overlap: ['number'] },
  },
  'Tokenizer.encodeWindows': {
    call: (options) => tokenizer.encodeWindows(['w1'], options),
    options: { maxLength: ['number'], overlap: ['number'], prefix: ['text'] },
    base: { maxLength: 10 },
  },
  batches: {
    call: (options) => gradcache.batches([{ a: 'x' }], options),
    options: {
      size: ['number'],
      fill: [],
      seed: ['number'],
      epochs: ['number'],
      shuffle: ['boolean'],
      dropLast: ['boolean'],
      uniqueTexts: ['boolean'],
      lists: ['list'],
      ids: ['list'],
      label: [],
      groupByLabel: ['boolean'],
      ranks: ['null'],
    },
    base: { size: 1 },
  },
  shuffle: {
    call: (options) => gradcache.shuffle([1, 2], options),
    options: { seed: ['number'], epoch: ['number'], buffer: ['number'] },
  },
  prefetch: {
    call: (options) => gradcache.prefetch([1], (item) => item, options),
    options: { ahead: ['number'] },
  },
  readPairs: {
    call: (options) => gradcache.readPairs('/nowhere.csv', options),
    options: {
      columns: [],
      format: [],
      header: ['boolean'],
      quoting: [],
      delimiter: ['text'],
      onBadLine: [],
      onSkip: ['function'],
      signal: [],
      label: [],
      lists: ['list'],
      ids: ['list'],
      emptyLists: ['list'],
    },
  },
  rankingPairs: {
    call: (options) => gradcache.rankingPairs([['a'], ['b']], options),
    options: { negatives: ['number'], seed: ['number'] },
  },
  search: {
    call: (options) => gradcache.search(rows, rows, options),
    options: { k: ['number'], similarity: [], tile: ['object'] },
    base: { k: 1 },
  },
  'search, a tile': {
    call: (options) => gradcache.search(rows, rows, { k: 1, tile: options }),
    options: { queries: ['number'], documents: ['number'] },
  },
  evaluateImageText: null, // its measures are those of evaluateRetrieval
  evaluateRetrieval: {
    call: (options) => gradcache.evaluateRetrieval(encoder, retrieval, options),
    options: {
      recallAt: ['list'],
      measures: ['list'],
      similarity: [],
      prompts: ['object'],
      dimensions: ['number'],
      block: ['number'],
      signal: [],
      onProgress: ['function'],
    },
  },
  writeReport: {
    call: (options) => gradcache.writeReport(['no such run'], 'page.html', options),
    options: { title: ['text'] },
  },
  evaluateSts: {
    call: (options) => gradcache.evaluateSts(encoder, sts, options),
    options: {
      similarity: [],
      prompt: ['text'],
      dimensions: ['number'],
      block: ['number'],
      signal: [],
      onProgress: ['function'],
    },
  },
  evaluateReranking: {
    call: (options) => gradcache.evaluateReranking(encoder, reranking, options),
    options: {
      at: ['number'],
      alwaysRerankPositives: ['boolean'],
      prompt: [],
      prompts: ['object'],
      similarity: [],
      dimensions: ['number'],
      block: ['number'],
      signal: [],
      onProgress: ['function'],
    },
  },
  'evaluateReranking, a cross-encoder': {
    call: (options) => gradcache.evaluateReranking(cross, reranking, options),
    options: {
      at: ['number'],
      alwaysRerankPositives: ['boolean'],
      prompt: ['text'],
      prompts: [],
      similarity: [],
      dimensions: [],
      block: ['number'],
      signal: [],
      onProgress: ['function'],
    },
  },
  evaluateTranslation: {
    call: (options) => gradcache.evaluateTranslation(encoder, { source: ['w1'], target: ['w2'] }, options),
    options: { similarity: [], prompt: ['text'], dimensions: ['number'], signal: [] },
  },
  evaluateMse: {
    call: (options) =>
      gradcache.evaluateMse(encoder, { texts: ['w1', 'w2'], representations: rows }, options),
    options: { prompt: ['text'], dimensions: ['number'], signal: [] },
  },
  readTranslation: {
    call: (options) => gradcache.readTranslation('/nowhere.csv', options),
    options: { signal: [], columns: [], format: [], header: ['boolean'], quoting: [], delimiter: ['text'] },
  },
  evaluateTriplets: {
    call: (options) => gradcache.evaluateTriplets(encoder, ranked, options),
    options: {
      similarity: [],
      margin: ['number'],
      prompts: ['object'],
      dimensions: ['number'],
      signal: [],
    },
  },
  evaluateBinary: {
    call: (options) => gradcache.evaluateBinary(encoder, { ...sts, labels: [0, 1] }, options),
    options: {
      similarity: [],
      prompt: ['text'],
      dimensions: ['number'],
      block: ['number'],
      signal: [],
      onProgress: ['function'],
    },
  },
  readTriplets: {
    call: (options) => gradcache.readTriplets('/nowhere.csv', options),
    options: { signal: [], columns: [], format: [], header: ['boolean'], quoting: [], delimiter: ['text'] },
  },
  readBinary: {
    call: (options) => gradcache.readBinary('/nowhere.csv', options),
    options: { signal: [], columns: [], format: [], header: ['boolean'], quoting: [], delimiter: ['text'] },
  },
  mineHardNegatives: {
    call: (options) => gradcache.mineHardNegatives(encoder, [{ anchor: 'a', positive: 'b' }], options),
    options: {
      columns: [],
      corpus: ['list', 'map'],
      negatives: ['number'],
      rangeMin: ['number'],
      rangeMax: ['number'],
      maxScore: ['number'],
      minScore: ['number'],
      absoluteMargin: ['number'],
      relativeMargin: ['number'],
      sampling: [],
      seed: ['number'],
      judge: [],
      judgePrompts: ['object'],
      similarity: [],
      prompts: ['object'],
      format: [],
      scores: ['boolean'],
      includePositives: ['boolean'],
      block: ['number'],
      signal: [],
      onProgress: ['function'],
    },
  },
  cachedEncoder: {
    call: (options) => gradcache.cachedEncoder(encoder, options),
    options: { folder: ['text'], model: ['text'], device: ['text'] },
    base: { folder: 'cache', model: 'm' },
  },
  readReranking: {
    call: (options) => gradcache.readReranking('/nowhere.jsonl', options),
    options: { signal: [] },
  },
  readRetrievalPairs: {
    call: (options) => gradcache.readRetrievalPairs('/nowhere.csv', options),
    options: {
      signal: [],
      documents: ['list', 'map'],
      columns: [],
      format: [],
      header: ['boolean'],
      quoting: [],
      delimiter: ['text'],
    },
  },
  readSts: {
    call: (options) => gradcache.readSts('/nowhere.csv', options),
    options: { signal: [], columns: [], format: [], header: ['boolean'], quoting: [], delimiter: ['text'] },
  },
};

/** The parameters of a function or method, as its source lists them. */
const parametersOf = (member: unknown): string => {
  const source = Function.prototype.toString.call(member);
  return source.slice(source.indexOf('('), source.search(/\)\s*(\{|=>)/));
};

test('every export is in the table, and every method that takes options', () => {
  const missing: string[] = [];
  for (const [name, value] of Object.entries(gradcache)) {
    if (typeof value !== 'function') continue;
    const isAlias = value.name !== name && Reflect.get(gradcache, value.name) === value;
    if (isAlias) continue;
    if (!(name in TAKERS)) missing.push(name);
    if (!/^class\s/.test(Function.prototype.toString.call(value))) continue;
    const members = {
      ...membersOf(value.prototype as object),
      ...Object.getOwnPropertyDescriptors(value),
    };
    for (const [method, { value: member }] of Object.entries(members)) {
      if (method === 'constructor' || typeof member !== 'function') continue;
      if (/\boptions\b/.test(parametersOf(member)) && !(`${name}.${method}` in TAKERS))
        missing.push(`${name}.${method}`);
    }
  }
  assert.deepEqual(missing, []);
});

for (const [name, taker] of Object.entries(TAKERS)) {
  if (taker === null) continue;
  test(`options of the wrong type are refused: ${name}`, async () => {
    const known = await Promise.resolve()
      .then(() => taker.call({ ...taker.base, nonsense: 1 } as never))
      .catch((error: unknown) => / takes (.+)$/.exec((error as Error).message)?.[1]?.split(', '));
    assert.deepEqual(Array.isArray(known) ? known.toSorted() : known, Object.keys(taker.options).toSorted());
    const accepted: string[] = [];
    for (const [option, types] of Object.entries(taker.options)) {
      for (const [type, value] of VALUES) {
        if (types.includes(type)) continue;
        const given = `${option}: ${String(value)} (${type})`;
        try {
          await taker.call({ ...taker.base, [option]: value } as never);
          accepted.push(given);
        } catch (error) {
          if (!(error instanceof gradcache.GradCacheError)) throw new Error(given, { cause: error });
          // A file that is not there, or the like, says that nobody looked at the option.
          if (/nowhere/.test(error.message)) accepted.push(`${given}: ${error.message}`);
        }
      }
    }
    assert.deepEqual(accepted, []);
  });
}
