import { formatDoctor } from '../addon/runtime/doctor-report.js';
import { doctor } from '../addon/runtime/doctor.js';
import type { Command } from './command.js';
import { text } from './flags.js';

/** `gradcache doctor` */
export const doctorCommand: Command = {
  usage: 'gradcache doctor [FLAGS]',
  about:
    'Looks at the system, every place a libtorch could be, the addons, the tools, and loads everything in a process of\n' +
    'its own. Exit code 0 when a training would start, 1 when something is missing.',
  sections: {
    'What to look at': {
      libtorch: text('FOLDER', 'a libtorch to use instead of looking for one'),
      device: text('DEVICE', 'a device that must be there: cpu, cuda, cuda:1'),
    },
  },
  examples: ['gradcache doctor', 'gradcache doctor --device cuda --json'],
  async run(args, { print }) {
    const report = await doctor({ libtorch: args.text('libtorch'), device: args.device() });
    print(args.on('json') ? JSON.stringify(report) : formatDoctor(report));
    return report.ok ? 0 : 1;
  },
};
