import type { ScoreActivation } from '../model-folder/cross-encoder-folder.js';
import { checkKnown } from '../options/known-options.js';
import { requireCount, requireOneOf, requireSignal } from '../options/option-values.js';
import { requireSeed } from '../options/seeds.js';
import { overlapOf, type Windows } from './long-texts.js';
import type { Prompt } from './prompts.js';
import { MODEL_OPTIONS, requireTypes, type TextEncoderOptions } from './text-encoder-options.js';

/** How {@link CrossEncoder.load} reads a model. */
export interface CrossEncoderOptions extends TextEncoderOptions {
  /**
   * Puts a new head on the model: its last layer begins with random weights, and so do layers before it that the folder does
   * not have. Any model folder will then do, also one of a text encoder. Default: the folder's own head, which must be there.
   */
  readonly newHead?: NewHead;
}

/** A head that is to be trained. */
export interface NewHead {
  /** How many numbers a pair gets. Default: 1. */
  readonly labels?: number;
  /** Seed of the random weights. Default: 0. */
  readonly seed?: number;
}

/** What {@link CrossEncoder.create} needs beyond a configuration. */
export interface NewCrossEncoderOptions extends TextEncoderOptions, NewHead {}

/** What {@link CrossEncoder.predict} applies to logits; 'softmax': over the labels of a pair. */
export type PredictActivation = ScoreActivation | 'softmax';

/** How {@link CrossEncoder.predict} computes. */
export interface PredictOptions {
  /** Default: {@link CrossEncoder.activation}. */
  readonly activation?: PredictActivation | undefined;
  /** As for {@link CrossEncoder.tokenize}. */
  readonly prompt?: Prompt | undefined;
  /** How many tokens are encoded at once. Default: 2,048 on the CPU, 32,768 on a GPU. */
  readonly tokensPerChunk?: number | undefined;
  /**
   * What becomes of pairs that are too long: the second text, a document, is read in windows, each beside the first text, and the
   * score is the greatest of them. The first text is cut as it is without windows: to half of a window, where both are longer than
   * that. For models with one label. Default: they are cut.
   */
  readonly windows?: Windows | undefined;
  /** Ends the work after the current chunk. */
  readonly signal?: AbortSignal | undefined;
}

/** How {@link CrossEncoder.rank} ranks. */
export interface RankOptions extends PredictOptions {
  /** How many documents are returned. Default: all. */
  readonly top?: number | undefined;
}

const PREDICT = ['activation', 'prompt', 'tokensPerChunk', 'windows', 'signal'];
const ACTIVATIONS = ['sigmoid', 'identity', 'tanh', 'softmax'] as const;

/** @throws GradCacheError `INPUT` for options that are wrong whatever the model is */
export function checkLoad(options: CrossEncoderOptions): void {
  checkKnown('CrossEncoder.load', options, [...MODEL_OPTIONS, 'newHead']);
  requireTypes(options);
  if (options.newHead === undefined) return;
  checkKnown('newHead', options.newHead, ['labels', 'seed']);
  requireHead(options.newHead);
}

/** @throws GradCacheError `INPUT` for options that are wrong whatever the model is */
export function checkCreate(options: NewCrossEncoderOptions): void {
  checkKnown('CrossEncoder.create', options, [...MODEL_OPTIONS, 'labels', 'seed']);
  requireTypes(options);
  requireHead(options);
}

function requireHead({ labels = 1, seed = 0 }: NewHead): void {
  requireCount('labels', labels, 1);
  requireSeed(seed);
}

/** @throws GradCacheError `INPUT` */
export function checkPredict(options: PredictOptions): void {
  checkKnown('predict', options, PREDICT);
  requirePrediction(options);
}

/** @throws GradCacheError `INPUT` */
export function checkRank(options: RankOptions): void {
  checkKnown('rank', options, [...PREDICT, 'top']);
  if (options.top !== undefined) requireCount('top', options.top, 1);
  requirePrediction(options);
}

function requirePrediction({ activation, tokensPerChunk, windows, signal }: PredictOptions): void {
  overlapOf(windows);
  if (activation !== undefined) requireOneOf('activation', activation, ACTIVATIONS);
  if (tokensPerChunk !== undefined) requireCount('tokensPerChunk', tokensPerChunk, 1);
  requireSignal('signal', signal);
}
