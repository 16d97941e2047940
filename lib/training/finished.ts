import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { modelFolder } from './checkpoint.js';
import { eventsOf } from './metrics.js';

/** What the metrics of a finished run tell of its model. */
export interface Finished {
  /** The update after which the model was written. */
  readonly step: number;
  /** The temperature of the loss at that update: null if it has none, undefined if no update is told. */
  readonly temperature: number | null | undefined;
  /** The last scores on held-out data, or null. */
  readonly scores: Readonly<Record<string, number>> | null;
  /** Those before the first update, or null. */
  readonly before: Readonly<Record<string, number>> | null;
}

/**
 * What the metrics in `output` tell of its finished model. Null where there is no such model, or the metrics do not tell
 * when it was written. A run that went on from a checkpoint has dropped the lines of later steps, and so of a model that it
 * was going to replace.
 */
export async function findFinished(output: string): Promise<Finished | null> {
  if (!existsSync(modelFolder(output))) return null;
  let step: number | null = null;
  let temperature: Finished['temperature'];
  let scores: Finished['scores'] = null;
  let before: Finished['before'] = null;
  for (const event of await eventsOf(output)) {
    if (event.type === 'step') ({ temperature } = event);
    else if (event.type === 'evaluation') {
      ({ scores } = event);
      if (event.step === 0) before = scores;
    } else if (event.type === 'saved' && basename(event.folder) === basename(modelFolder(output)))
      ({ step } = event);
  }
  return step === null ? null : { step, temperature, scores, before };
}

/** What a run that is finished tells when it is resumed. @param notes settings that are others than before: they are not used */
export function leftAsItIs(done: number, notes: readonly string[]): string {
  const unused = notes.length === 0 ? '' : ` Not used: ${notes.join('; ')}.`;
  return (
    `The run is finished: step ${done} of ${done}. Everything is left as it is.${unused} ` +
    'To train further, give more steps (steps, --steps) or epochs (epochs, --epochs).'
  );
}
