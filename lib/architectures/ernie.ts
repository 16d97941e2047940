import { all, only, table } from '../files/key-table.js';
import type { Architecture } from './architecture.js';
import { bert } from './bert.js';
import { CONFIG_KEYS } from './config-keys.js';

/** ERNIE (Sun et al. 2020): BERT's layers under BERT's names. */
export const ernie: Architecture = {
  ...bert,
  tokenizers: { ernie: 'BertTokenizer' },
  keys: new Map([
    ...CONFIG_KEYS,
    ...table({
      ...all('kept', 'task_type_vocab_size'),
      use_task_id: only('Models with embeddings of tasks are not supported.', false, null),
    }),
  ]),
  classifier: { ...bert.classifier, classes: { ernie: 'Ernie' } },
  prefix: 'ernie.',
};
