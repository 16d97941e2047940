// Trains as one rank, run after run. The first argument names a file with a list of runs, each a list of configurations, one for
// each rank. Prints what each run told this rank: its result and steps, or its error.
import { readFileSync } from 'node:fs';
import { Ranks } from '../../lib/distributed/ranks.js';
import type { GradCacheError } from '../../lib/errors.js';
import type { TrainEvent } from '../../lib/training/events.js';
import { trainAsGiven } from '../../lib/training/train.js';

const runs = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as unknown[][];
const ranks = (await Ranks.join({ timeout: 60 }))!;
const told: unknown[] = [];
for (const configs of runs) {
  const events: TrainEvent[] = [];
  try {
    await trainAsGiven(configs[ranks.rank], { ranks, onEvent: (event) => events.push(event) });
    told.push({ events: events.filter(({ type }) => type !== 'chunk') });
  } catch (error) {
    const { code, message } = error as GradCacheError;
    told.push({ code, message, events: [] });
  }
}
await ranks.close();
console.log(JSON.stringify(told));
