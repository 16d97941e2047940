import type { DataFormat } from '../data/record-options.js';
import type { Quoting } from '../data/quoting.js';
import type { RetrievalMeasure } from '../evaluation/retrieval-measures.js';
import type { Similarity, TokenSimilarity } from '../options/similarity.js';

/** Held-out data, and what it is measured for. */
export interface HeldOutSetConfig {
  /**
   * Default 'retrieval', unless the loss alone is measured. A cross-encoder can be measured for 'reranking', its default, 'sts' and
   * 'binary'.
   */
  readonly task?: 'retrieval' | 'sts' | 'triplets' | 'binary' | 'clustering' | 'translation' | 'reranking';
  /**
   * Also measure the loss, as the score `loss`: the mean over batches like those of the training, in the order of the file,
   * without dropout. The file then has the columns and the label that are trained on. Of a cross-encoder the loss is measured alone.
   * Default false.
   */
  readonly loss?: boolean;
  /**
   * File of pairs: anchor and positive for retrieval; two sentences and a score for sts; anchor, positive and negative for triplets;
   * two sentences and a label, 0 or 1, for binary; text and label for clustering; a text and its translation for translation. For
   * reranking JSON lines of query, positive, and negative or documents ({@link readReranking}).
   */
  readonly data?: string;
  /**
   * Of retrieval of pairs: a file of further documents to search, relevant to no query. One a line, or a file with columns and a
   * header, whose format its name tells.
   */
  readonly documents?: string;
  /** The column of `documents`. Default: that of the documents in `data`, where the file has columns; else lines. */
  readonly documentColumn?: string;
  /** In place of `data`, for retrieval in the layout of BEIR, with `corpus` and `judgements`: JSON lines of `_id` and `text`. */
  readonly queries?: string;
  /** JSON lines of `_id`, `text` and perhaps `title`. */
  readonly corpus?: string;
  /** The grade of each relevant document of a query: a TSV file of BEIR, or TREC's qrels. */
  readonly judgements?: string;
  /**
   * Default: the first two of the data that is trained on for retrieval, and for other tasks ['sentence1', 'sentence2', 'score'],
   * ['anchor', 'positive', 'negative'], ['sentence1', 'sentence2', 'label'], ['text', 'label'], ['source', 'target']; all that are
   * trained on, if the loss alone is measured.
   */
  readonly columns?: readonly string[];
  /** By default told from the file's name. */
  readonly format?: DataFormat;
  /** False for a CSV or TSV file whose first line is a row: `columns` then names its fields. Default true. */
  readonly header?: boolean | readonly string[];
  /** Whether fields of CSV or TSV files can be in quotes. Default 'csv' for CSV, 'auto' for TSV. */
  readonly quoting?: Quoting;
  /** What stands between the fields of CSV or TSV files: a character or several. Default: a comma, or a tab. */
  readonly delimiter?: string;
  /** What texts are compared by. Default: the similarity that is trained. */
  readonly similarity?: Similarity | TokenSimilarity;
  /**
   * Lengths that representations are cut to and measured at as well. The scores have the length behind their names, as
   * `ndcg@10/64`. The texts are encoded again for each.
   */
  readonly dimensions?: readonly number[];
  /** Further measures of retrieval, as `'map@100'` or `'accuracy@1'`. Default: none. */
  readonly measures?: readonly RetrievalMeasure[];
  /** Of reranking: the ranks that count in MRR and nDCG. Default: 10. */
  readonly at?: number;
}

/** Held-out data of a run, and when it is measured. */
export interface EvaluationConfig extends HeldOutSetConfig {
  /**
   * Further held-out data by name, or all of it, without `data`. The scores of each have its name before theirs, as `sts.spearman`.
   * A name has letters, digits, `_` and `-`. A resumed run that gives sets has these, and not those of before.
   */
  readonly sets?: Readonly<Record<string, HeldOutSetConfig>>;
  /** Steps between two measurements, or 'epoch': after each pass over the data. Default: only at the end. */
  readonly every?: number | 'epoch';
  /** Also measure before the first update, as step 0. Default false. */
  readonly before?: boolean;
  /**
   * The score by which a model is the best, for instance `'ndcg@10'` or `'sts.spearman'`; the lower is the better one for `loss`. The
   * best model is kept in the folder `best` of the output, and in the end `model` is the best one, not the last. Default: none.
   */
  readonly best?: string;
  /** Ends the run after so many measurements without a better score. Needs `best`. Default: none, all steps are made. */
  readonly patience?: number;
}
