import { plural } from '../options/plural.js';
import { refuseOverwriting } from '../files/overwrite.js';
import { writeReport } from '../report/write-report.js';
import { hardestFile } from '../training/hardest-file.js';
import { metricsFile } from '../training/metrics.js';
import type { Command } from './command.js';
import { text } from './flags.js';

const OUTPUT = { ...text('FILE', 'the page to write'), short: 'o' };

/** `gradcache report` */
export const reportCommand: Command = {
  usage: 'gradcache report RUN [RUN …] --output FILE [FLAGS]',
  about:
    'Writes a page about a run, or about several side by side, as one HTML file that needs nothing else: loss, learning rate,\n' +
    'throughput, memory, scores on held-out data, settings, counts, and what the last evaluation found hardest. RUN is the\n' +
    'output folder of `gradcache train`; the run may still be under way.',
  sections: {
    Report: {
      output: OUTPUT,
      title: text('TEXT', 'the heading; default: the name of the run'),
    },
  },
  examples: ['gradcache report runs/a -o a.html', 'gradcache report runs/a runs/b -o both.html'],
  operands: ['RUN …'],
  needed: ['output'],
  async run(args, { print }) {
    const runs = args.operands;
    const path = args.required('output', OUTPUT);
    const read = runs.flatMap((run) => [metricsFile(run), hardestFile(run)]);
    await refuseOverwriting(
      { name: '--output', path },
      read.map((file) => ({ name: 'the report', path: file })),
    );
    await writeReport(runs, path, { title: args.words('title') });
    if (args.on('json')) print(JSON.stringify({ path, runs: runs.length }));
    else print(`${path}: ${plural(runs.length, 'run')}`);
    return 0;
  },
};
