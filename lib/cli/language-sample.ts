import { decodeBehind } from '../language/vocabulary.js';
import type { Command } from './command.js';
import { number, text } from './flags.js';
import { interruptible } from './interrupt.js';
import { LANGUAGE_MODEL_FLAGS, openLanguageModel } from './language-model-flags.js';

const SAMPLE_FLAGS = {
  prompt: text('TEXT', 'what the text begins with'),
  tokens: number('N', 'how many to draw; default 200'),
  temperature: number('T', 'divides log-probabilities; 0: the most probable token. Default 1'),
  'top-k': number('N', 'draw from so many of the most probable tokens; default: all'),
  'top-p': number('P', 'draw from the most probable tokens that together have this probability; default 1'),
  seed: number('N', 'default 1; the same seed draws the same text'),
  window: number('TOKENS', "before its own that a token attends to; default: the model's"),
};

/** `gradcache language sample` */
export const languageSampleCommand: Command = {
  usage: 'gradcache language sample --model FOLDER --prompt TEXT [FLAGS]',
  about: 'Goes on with a text, token after token, and prints it with its prompt.',
  sections: { Model: LANGUAGE_MODEL_FLAGS, Text: SAMPLE_FLAGS },
  examples: [
    "gradcache language sample --model runs/a/model --prompt 'ROMEO:' --tokens 400 --temperature 0.8",
  ],
  needed: ['model', 'prompt'],
  async run(args, { progress, print }) {
    const begin = args.required('prompt', SAMPLE_FLAGS.prompt);
    const window = args.count('window');
    const drawing = {
      tokens: args.count('tokens') ?? 200,
      temperature: args.within('temperature', { from: 0 }) ?? 1,
      topK: args.within('top-k', { from: 0, whole: true }) ?? 0,
      topP: args.within('top-p', { above: 0, to: 1 }) ?? 1,
      seed: args.within('seed', { from: 0, whole: true }) ?? 1,
      ...(window !== undefined && { window }),
    };
    const written = await interruptible(
      async (signal) => {
        const { model, vocabulary } = await openLanguageModel(args);
        try {
          const start = await vocabulary.encode(Buffer.from(begin), signal);
          const drawn = await model.generate(start, { ...drawing, signal });
          return Buffer.from(await decodeBehind(vocabulary, start, drawn)).toString();
        } finally {
          model.dispose();
        }
      },
      progress,
      () => 'No text was drawn.',
    );
    progress.clear();
    print(
      args.on('json') ? JSON.stringify({ type: 'result', prompt: begin, text: written }) : begin + written,
    );
    return 0;
  },
};
