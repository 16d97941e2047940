import { join } from 'node:path';
import { readPairs, type RetrievalTask } from '../../lib/index.js';
import { readWordNet, split, type Definition } from '../../examples/quickstart/wordnet.js';

/** A text, and the one that is to be found for it. */
export interface Pair {
  readonly query: string;
  readonly answer: string;
}

/** What is learned, and how it is measured. */
export interface Task {
  readonly name: string;
  /** What the number of updates is divided by: a small set of pairs is soon learned. */
  readonly shorter: number;
  readonly train: readonly Pair[];
  /** Chooses learning rates. */
  readonly dev: RetrievalTask;
  readonly test: RetrievalTask;
}

const DEV = 1000;
const TEST = 2000;
/** Two sentences of the STS benchmark with at least this score say the same but for details. */
const SAME = 4;

/** The term of a definition is to be found among all terms that are held out. */
export async function definitions(): Promise<Task> {
  const { train, heldOut } = split(await readWordNet(), DEV + TEST);
  const pairsOf = (rows: readonly Definition[]): Pair[] =>
    rows.map(({ gloss, term }) => ({ query: gloss, answer: term }));
  // Every third one, so that both have every kind of term.
  const dev = pairsOf(heldOut.filter((_, place) => place % 3 === 0));
  const test = pairsOf(heldOut.filter((_, place) => place % 3 !== 0));
  return {
    name: 'WordNet',
    shorter: 1,
    train: pairsOf(train),
    dev: amongAnswers(dev),
    test: amongAnswers(test),
  };
}

/** The second sentence of a pair that says the same is to be found among all second sentences. */
export async function sentences(folder: string): Promise<Task> {
  const [train, dev, test] = await Promise.all(
    ['train', 'dev', 'test'].map((part) => readScored(join(folder, `${part}.csv`))),
  );
  return {
    name: 'STS benchmark',
    shorter: 3,
    train: train!.filter(({ score }) => score >= SAME).map(({ query, answer }) => ({ query, answer })),
    dev: amongAll(dev!),
    test: amongAll(test!),
  };
}

type Scored = Pair & { readonly score: number };

async function readScored(file: string): Promise<Scored[]> {
  const rows: Scored[] = [];
  for await (const { query, answer, score } of readPairs(file, {
    columns: ['query', 'answer', 'score'],
    header: false,
  }))
    rows.push({ query, answer, score: Number(score) });
  return rows;
}

function amongAnswers(pairs: readonly Pair[]): RetrievalTask {
  return {
    queries: pairs.map(({ query }) => query),
    documents: pairs.map(({ answer }) => answer),
    relevant: pairs.map((_, place) => new Map([[place, 1]])),
  };
}

/** A sentence that stands in several pairs is one document and one query, with several answers. */
function amongAll(pairs: readonly Scored[]): RetrievalTask {
  const places = new Map<string, number>();
  for (const { answer } of pairs) if (!places.has(answer)) places.set(answer, places.size);
  const relevant = new Map<string, Map<number, number>>();
  for (const { query, answer, score } of pairs)
    if (score >= SAME)
      relevant.set(query, (relevant.get(query) ?? new Map<number, number>()).set(places.get(answer)!, 1));
  return { queries: [...relevant.keys()], documents: [...places.keys()], relevant: [...relevant.values()] };
}
