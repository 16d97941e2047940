import { writeFileSync } from 'node:fs';
import { readRetrievalFolder } from '../../../lib/index.js';
import { mutateBytes, mutateText } from '../mutations.js';
import type { Target } from '../target.js';

const files: Readonly<Record<string, string>> = {
  'queries.jsonl': '{"_id": "q1", "text": "what is a cat"}\n{"_id": "q2", "text": "dogs", "metadata": {}}\n',
  'corpus.jsonl':
    '{"_id": "d1", "title": "Cat", "text": "an animal"}\n{"_id": "d2", "title": "", "text": ""}\n',
  'judgements.tsv': 'query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t2\nq2\td1\t0\n',
};

/** Tasks of BEIR: queries, documents and judgements. */
export const beir: Target = {
  count: 700,
  prepare: () => async (random, tell) => {
    const damaged = random.pick(Object.keys(files));
    tell(damaged);
    for (const [name, text] of Object.entries(files)) {
      if (name !== damaged) writeFileSync(name, text);
      else if (random.next() < 0.8) writeFileSync(name, mutateText(text, random));
      else writeFileSync(name, mutateBytes(Buffer.from(text), random));
    }
    const [queries, corpus, judgements] = Object.keys(files) as [string, string, string];
    const task = await readRetrievalFolder({ queries, corpus, judgements });
    const places = task.relevant.flatMap((documents) => [...documents.keys()]);
    if (task.relevant.length !== task.queries.length)
      throw new Error('queries and judgements differ in number');
    if (!places.every((place) => Number.isInteger(place))) throw new Error(`places ${places.join()}`);
  },
};
