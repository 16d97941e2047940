/*
 * Held-out data of a text encoder: how each task is read, and measured with a model.
 */
import { readRetrievalFolder } from '../../evaluation/beir.js';
import { evaluateBinary } from '../../evaluation/binary.js';
import { evaluateClustering } from '../../evaluation/clustering.js';
import type { EncodesTexts } from '../../evaluation/encode-texts.js';
import { columnOfTexts, readTexts } from '../../evaluation/file-texts.js';
import { hardestPairs, hardestQueries, hardestReranked } from '../../evaluation/hardest.js';
import { readReranking } from '../../evaluation/reranking-data.js';
import { rerankAndScore } from '../../evaluation/reranking.js';
import { rankAndScore } from '../../evaluation/retrieval.js';
import {
  BINARY_NAMES,
  CLUSTERING_NAMES,
  flattenBinary,
  flattenScores,
  flattenTranslation,
  rerankingNames,
  retrievalNames,
  STS_NAMES,
  TRANSLATION_NAMES,
} from '../../evaluation/scores.js';
import { compareAndScore } from '../../evaluation/sts.js';
import {
  labelledTexts,
  retrievalPairs,
  translations,
  triplets,
  type TaskOptions,
} from '../../evaluation/tasks.js';
import { evaluateTranslation } from '../../evaluation/translation.js';
import { evaluateTriplets } from '../../evaluation/triplets.js';
import { similarityOf } from '../../losses/loss-kinds.js';
import { OWN_LOSS } from '../../losses/own-loss.js';
import { SettingError } from '../../options/fields.js';
import { SIMILARITIES, type Similarity, type TokenSimilarity } from '../../options/similarity.js';
import {
  documentSettingsOf,
  placeOf,
  settingNamesOf,
  type HeldOutSet,
  type NamedSet,
} from '../held-out-sets.js';
import type { FilledTrainConfig } from '../read-config.js';
import { readLabelledPairs, readScoredPairs } from './held-out-sentences.js';
import type { Measured } from './objective.js';
import { promptOf } from './prompts.js';

/** Held-out data, to be measured with any model. */
export interface HeldOutTask {
  /** What its scores are called. */
  readonly names: readonly string[];
  measure(model: EncodesTexts, signal: AbortSignal | undefined): Promise<Measured>;
}

/** A task as it was read, measured at one length of representations. */
interface ReadTask {
  readonly names: readonly string[];
  measure(model: EncodesTexts, how: Cut): Promise<Measured>;
}

interface Cut {
  /** Undefined: whole representations. */
  readonly dimensions: number | undefined;
  readonly signal: AbortSignal | undefined;
}

/** How a set is read, and how its texts are compared. */
interface Reading {
  readonly set: HeldOutSet;
  readonly name: string | undefined;
  readonly how: TaskOptions;
  /** Undefined: the model's. */
  readonly similarity: Similarity | undefined;
  readonly prompts: { readonly query: string | undefined; readonly document: string | undefined };
}

/**
 * Reads a set of held-out data for its task; null if the loss alone is measured of it.
 *
 * @param signal ends the reading
 */
export async function loadHeldOut(
  { name, set }: NamedSet,
  { columns, prompts, loss }: Pick<FilledTrainConfig, 'columns' | 'prompts' | 'loss'>,
  signal: AbortSignal | undefined,
): Promise<HeldOutTask | null> {
  const { task } = set;
  if (task === undefined) return null;
  // Texts are compared by the similarity that is trained, unless the set names another, behind the prompts of the training: those of its anchors and of
  // its positives, or none.
  const [query, document] = columns.map((column) => promptOf({ prompts }, column));
  const { columns: own, format, header, quoting, delimiter } = set;
  const how = { columns: own, format, header, quoting, delimiter, signal };
  const reading = { set, name, how, prompts: { query, document } };
  // A loss of the program does not say by which; the model does.
  const similarity = set.similarity ?? (loss.kind === OWN_LOSS ? undefined : similarityOf(loss));
  if (task === 'retrieval') return atLengths(set, await readRetrieval({ ...reading, similarity }));
  const rows = SIMILARITIES.find((known) => known === similarity);
  if (rows === undefined && similarity !== undefined)
    throw new SettingError(
      `config.${placeOf(name)}.task`,
      `is "${task}", which compares one representation of each text; "retrieval" is for a model with one for each token.`,
    );
  return atLengths(set, await READERS[task]({ ...reading, similarity: rows }));
}

/** Measures whole representations, and those cut to each length that is asked for. */
function atLengths({ dimensions: lengths = [] }: HeldOutSet, task: ReadTask): HeldOutTask {
  return {
    names: [...task.names, ...lengths.flatMap((length) => task.names.map((name) => `${name}/${length}`))],
    async measure(model, signal) {
      const { scores: whole, hardest } = await task.measure(model, { dimensions: undefined, signal });
      const scores = { ...whole };
      for (const length of lengths) {
        const cut = await task.measure(model, { dimensions: length, signal });
        for (const [name, score] of Object.entries(cut.scores)) scores[`${name}/${length}`] = score;
      }
      return { scores, hardest };
    },
  };
}

async function readRetrieval({
  set,
  name,
  how,
  similarity,
  prompts,
}: Omit<Reading, 'similarity'> & {
  readonly similarity: Similarity | TokenSimilarity | undefined;
}): Promise<ReadTask> {
  const { data, queries, corpus, judgements, measures } = set;
  const task =
    data === undefined
      ? await readRetrievalFolder({ queries: queries!, corpus: corpus!, judgements: judgements! })
      : await retrievalPairs(
          data,
          { ...how, documents: furtherDocuments(set, name, how) },
          settingNamesOf(name),
        );
  return {
    names: retrievalNames(measures),
    async measure(model, cut) {
      const options = { similarity, prompts, ...cut, ...(measures && { measures }) };
      const { scores, ranking } = await rankAndScore(model, task, options);
      return { scores: flattenScores(scores), hardest: hardestQueries(task, ranking) };
    },
  };
}

/** The documents of a set beyond those of its pairs. */
function furtherDocuments(
  { documents, documentColumn }: HeldOutSet,
  name: string | undefined,
  { columns, signal }: TaskOptions,
): Iterable<string> | AsyncIterable<string> {
  if (documents === undefined) return [];
  const column = columnOfTexts(documents, documentColumn, columns![1]!);
  return readTexts(documents, column, { names: documentSettingsOf(name), signal });
}

/** Tasks that compare one representation of each text. */
const READERS: Readonly<
  Record<Exclude<NonNullable<HeldOutSet['task']>, 'retrieval'>, (reading: Reading) => Promise<ReadTask>>
> = {
  async sts({ set, name, how, similarity, prompts }) {
    const task = await readScoredPairs({ set, name }, how);
    return {
      names: STS_NAMES,
      async measure(model, cut) {
        const options = { similarity, prompt: prompts.query, ...cut };
        const { scores, similarities } = await compareAndScore(model, task, options);
        return { scores: flattenScores(scores), hardest: hardestPairs(task, similarities) };
      },
    };
  },
  async triplets({ set, name, how, similarity, prompts }) {
    const task = await triplets(set.data!, how, settingNamesOf(name));
    return {
      names: ['accuracy'],
      async measure(model, cut) {
        const { accuracy } = await evaluateTriplets(model, task, { similarity, prompts, ...cut });
        return { scores: { accuracy } };
      },
    };
  },
  async binary({ set, name, how, similarity, prompts }) {
    const task = await readLabelledPairs({ set, name }, how);
    return {
      names: BINARY_NAMES,
      async measure(model, cut) {
        const options = { similarity, prompt: prompts.query, ...cut };
        return { scores: flattenBinary(await evaluateBinary(model, task, options)) };
      },
    };
  },
  async clustering({ set, name, how, prompts }) {
    const task = await labelledTexts(set.data!, how, settingNamesOf(name));
    return {
      names: CLUSTERING_NAMES,
      async measure(model, cut) {
        const { accuracy, nmi } = await evaluateClustering(model, task, { prompt: prompts.query, ...cut });
        return { scores: { accuracy, nmi } };
      },
    };
  },
  async translation({ set, name, how, similarity, prompts }) {
    const task = await translations(set.data!, how, settingNamesOf(name));
    return {
      names: TRANSLATION_NAMES,
      async measure(model, cut) {
        const options = { similarity, prompt: prompts.query, ...cut };
        return { scores: flattenTranslation(await evaluateTranslation(model, task, options)) };
      },
    };
  },
  async reranking({ set, how, similarity, prompts }) {
    const task = await readReranking(set.data!, { signal: how.signal });
    const { at } = set;
    return {
      names: rerankingNames(task, at),
      async measure(model, cut) {
        const { scores, ranked } = await rerankAndScore(model, task, {
          similarity,
          prompts,
          ...cut,
          ...(at && { at }),
        });
        return { scores: flattenScores(scores), hardest: hardestReranked(ranked) };
      },
    };
  },
};
