/*
 * What every training run tells people.
 */
import { plural } from '../options/plural.js';
import { listCheckpoints } from '../training/checkpoint.js';
import type {
  EvaluationEvent,
  NoteEvent,
  SavedEvent,
  SkippedEvent,
  SkippedTotalEvent,
} from '../training/events.js';
import type { ProgressLine } from './terminal.js';

/** What an interrupted run can go on from. */
export async function whatIsLeft(output: string): Promise<string> {
  const last = (await listCheckpoints(output)).at(-1);
  return last === undefined
    ? 'No checkpoint had been made (--checkpoint-every N makes them).'
    : `The checkpoint of step ${last} is complete; --resume goes on from it.`;
}

/** Says an event that is not of a step. */
export function sayEvent(
  progress: ProgressLine,
  event: EvaluationEvent | SavedEvent | SkippedEvent | SkippedTotalEvent | NoteEvent,
): void {
  switch (event.type) {
    case 'evaluation': {
      const scores = Object.entries(event.scores).map(([name, score]) => `${name} ${score.toFixed(4)}`);
      progress.say(`step ${event.step}: ${scores.join(', ')}`);
      break;
    }
    case 'saved':
      progress.say(`step ${event.step}: wrote ${event.folder}`);
      break;
    case 'skipped':
      progress.say(`skipped ${event.message}`);
      break;
    case 'skippedTotal':
      progress.say(`skipped ${plural(event.lines, 'line')} in all`);
      break;
    case 'note':
      progress.say(event.message);
      break;
  }
}
