import { dataName, modelName } from '../hub/hub-name.js';
import { pull } from '../hub/pull.js';
import { plural } from '../options/plural.js';
import type { Command } from './command.js';
import { onOff, text } from './flags.js';
import { readOperand, watching } from './hub.js';
import { interruptible } from './interrupt.js';
import { formatBytes } from './terminal.js';

/** `gradcache pull` */
export const pullCommand: Command = {
  usage: 'gradcache pull NAME [FLAGS]',
  about:
    'Fetches a model or a data set of the Hugging Face hub into the cache that Python uses as well, or brings what is there up\n' +
    'to date: OWNER/NAME, or OWNER/NAME@REVISION; of a data set also OWNER/NAME/PART:SPLIT. An interrupted download goes on\n' +
    'where it ended. HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE mean what they mean in Python.',
  sections: {
    'What to fetch': {
      data: onOff('a data set, not a model'),
      revision: text('REVISION', 'a branch, tag or commit; default main'),
    },
  },
  examples: [
    'gradcache pull sentence-transformers/all-MiniLM-L6-v2',
    'gradcache pull sentence-transformers/all-nli/triplet:train --data',
  ],
  operands: ['NAME'],
  async run(args, { progress, print }) {
    const [operand = ''] = args.operands;
    const revision = args.text('revision');
    const name = revision === undefined ? operand : withRevision(operand, revision);
    const kind = args.on('data') ? 'dataset' : 'model';
    readOperand(() => (kind === 'model' ? modelName : dataName)('NAME', name));
    const pulled = await interruptible(
      (signal) => pull(name, { kind, signal, ...watching(progress) }),
      progress,
      () => 'What has come is kept: the same command goes on from there.',
    );
    progress.clear();
    const { folder, commit, files, fetched } = pulled;
    if (args.on('json')) print(JSON.stringify({ name, kind, ...pulled }));
    else
      print(
        `${folder}: ${plural(files.length, 'file')} at ${commit.slice(0, 12)}, ` +
          (fetched === 0 ? 'all there already' : `${formatBytes(fetched)} fetched`),
      );
    return 0;
  },
};

/** `owner/name` with a revision, before what follows the name. */
function withRevision(name: string, revision: string): string {
  const [, repository = name, rest = ''] = /^((?:hf:)?[^@:/]+\/[^@:/]+)(.*)$/.exec(name) ?? [];
  return `${repository}@${revision.replaceAll('/', '%2F')}${rest}`;
}
