import { setup } from '../addon/runtime/setup.js';
import type { Command } from './command.js';
import { onOff, text, UsageError } from './flags.js';

/** `gradcache setup` */
export const setupCommand: Command = {
  usage: 'gradcache setup [FLAGS] [-- PIP OPTIONS]',
  about:
    'Installs a libtorch with pip into a cache folder of yours, unpacks an archive, or links a folder, so that gradcache\n' +
    'finds it from then on. What is there already is not installed again. Options after -- go to pip as they are.',
  sections: {
    'What to install': {
      version: text('VERSION', 'version for pip to install, such as 2.13.0 or 2.13.0+cu130'),
      from: text('PATH', 'a folder or archive of libtorch that is here already'),
      project: onOff('into .libtorch of this project instead of the cache folder'),
    },
  },
  examples: [
    'gradcache setup',
    'gradcache setup --version 2.13.0+cu130 -- --index-url https://download.pytorch.org/whl/cu130',
    'gradcache setup --from ~/libtorch.zip',
  ],
  takesRest: true,
  async run(args, { progress, print }) {
    if (args.text('from') !== undefined && (args.text('version') ?? args.rest[0]) !== undefined)
      throw new UsageError(
        '--from takes what is here already: --version and options of pip do not go with it.',
      );
    const { folder, installed } = await setup({
      version: args.text('version'),
      from: args.text('from'),
      project: args.on('project'),
      pipArguments: args.rest,
      onLine: (line) => progress.show(line),
    });
    progress.clear();
    if (args.on('json')) print(JSON.stringify({ folder, installed }));
    else print(installed ? `Installed: ${folder}` : `Already there: ${folder}`);
    return 0;
  },
};
