import { isRepositoryName } from '../hub/hub-name.js';
import { show } from '../options/option-values.js';
import { push } from '../training/push.js';
import { plural } from '../options/plural.js';
import { readNamedText } from '../files/named-text.js';
import type { Command } from './command.js';
import { onOff, text, UsageError } from './flags.js';
import { interruptible } from './interrupt.js';

/** `gradcache push` */
export const pushCommand: Command = {
  usage: 'gradcache push FOLDER OWNER/NAME [FLAGS]',
  about:
    'Uploads a model folder to the Hugging Face hub as one commit, with a model card (README.md): how the model is used in\n' +
    'Node.js and in Python, and, for the model of a run, its settings, data, scores, base model and licence. A README.md in the\n' +
    'folder is uploaded as it is. Needs a token that may write (HF_TOKEN, or `hf auth login`) and the package @huggingface/hub.',
  sections: {
    Upload: {
      private: onOff('make a new repository private'),
      message: text('TEXT', 'title of the commit'),
      card: text('FILE', 'the model card; default: README.md of the folder, else one that is made'),
    },
  },
  examples: ['gradcache push runs/a/model owner/name --private'],
  operands: ['FOLDER', 'OWNER/NAME'],
  async run(args, { progress, print }) {
    const [folder = '', name = ''] = args.operands;
    if (!isRepositoryName(name) || name.includes('@'))
      throw new UsageError(`OWNER/NAME is ${show(name)}; a name of the hub, such as owner/name, is needed.`);
    const file = args.text('card');
    const card = file === undefined ? undefined : await readNamedText(file);
    const pushed = await interruptible(
      (signal) =>
        push(folder, name, {
          private: args.on('private'),
          message: args.text('message'),
          card,
          signal,
          onProgress: (files, all) => progress.show(`${name} · ${files} of ${plural(all, 'file')}`),
          onWait: (message) => progress.say(message),
        }),
      progress,
      () => 'Nothing was committed. Files that have come are not sent anew.',
    );
    progress.clear();
    const cards = { given: file, folder: `${folder}/README.md`, made: 'made' };
    if (args.on('json')) print(JSON.stringify({ name, ...pushed }));
    else print(`${pushed.url}: ${plural(pushed.files.length, 'file')}, model card ${cards[pushed.card]}`);
    return 0;
  },
};
