import { DOCUMENTS, encodeTexts, readTexts } from '../language/corpus.js';
import { measureCorpus } from '../language/measure.js';
import type { Command } from './command.js';
import { number, repeated, text } from './flags.js';
import { interruptible } from './interrupt.js';
import { LANGUAGE_MODEL_FLAGS, openLanguageModel } from './language-model-flags.js';
import { formatCount } from './terminal.js';

const TEXT_FLAGS = {
  data: repeated(text('FILE', 'text, .gz too; may be repeated')),
  documents: text('KIND', 'what a document is, where the state starts anew: file (default) or line'),
  rows: number('N', 'parts of the text that are read side by side, each from its beginning; default 1'),
  length: number('TOKENS', 'that a row reads at a time; default 512'),
  window: number('TOKENS', "before its own that a token attends to; default: the model's"),
};

/** `gradcache language evaluate` */
export const languageEvaluateCommand: Command = {
  usage: 'gradcache language evaluate --model FOLDER --data FILE [FLAGS]',
  about:
    'Measures a language model on text that it reads from its beginning to its end: bits per character (per byte, where these\n' +
    'are the tokens), and perplexity per token. The first token of a document is not predicted.',
  sections: { Model: LANGUAGE_MODEL_FLAGS, Text: TEXT_FLAGS },
  examples: ['gradcache language evaluate --model runs/a/model --data test.txt'],
  needed: ['model', 'data'],
  async run(args, { progress, print }) {
    const files = args.texts('data');
    const kind = args.oneOf('documents', DOCUMENTS) ?? 'file';
    const [rows = 1, length = 512, window] = ['rows', 'length', 'window'].map((name) => args.count(name));
    const scores = await interruptible(
      async (signal) => {
        const { model, vocabulary } = await openLanguageModel(args);
        try {
          const corpus = await encodeTexts(await readTexts(files, kind, signal), vocabulary, signal);
          progress.say(`${formatCount(corpus.tokens.length)} tokens on ${model.device}`);
          return await measureCorpus(model, corpus, { rows, length, window, signal });
        } finally {
          model.dispose();
        }
      },
      progress,
      () => 'Nothing was measured.',
    );
    progress.clear();
    if (args.on('json')) print(JSON.stringify({ type: 'result', ...scores }));
    else for (const [name, score] of Object.entries(scores)) print(`${name} ${(score as number).toFixed(4)}`);
    return 0;
  },
};
