/** What is to be found: texts, and for each query the documents that answer it. */
export interface RetrievalTask {
  /** The queries. */
  readonly queries: readonly string[];
  /** The documents to search. */
  readonly documents: readonly string[];
  /** For each query, the positions of its relevant documents with their grade (1 where there are no grades). */
  readonly relevant: readonly ReadonlyMap<number, number>[];
  /**
   * For each query, the grades of relevant documents that are not among the documents. They cannot be found, and count in
   * recall and in the best possible gain, as trec_eval counts them. Default: there are none.
   */
  readonly missing?: readonly (readonly number[])[];
  /**
   * By query, the position of a document that is left out of its ranking: in the layout of BEIR the one that has the query's
   * own `_id`. Default: there are none.
   */
  readonly excluded?: ReadonlyMap<number, number>;
}
