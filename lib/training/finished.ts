import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { ifAbsent, onFiles } from '../files/file-error.js';
import { modelFolder } from './checkpoint.js';
import type { TrainEvent } from './events.js';
import { metricsFile } from './metrics.js';

/** What the metrics of a finished run tell of its model. */
export interface Finished {
  /** The update after which the model was written. */
  readonly step: number;
  /** The temperature of the loss at that update: null if it has none, undefined if no update is told. */
  readonly temperature: number | null | undefined;
  /** The last scores on held-out data, or null. */
  readonly scores: Readonly<Record<string, number>> | null;
}

/**
 * What the metrics in `output` tell of its finished model. Null where there is no such model, or the metrics do not tell
 * when it was written. A run that went on from a checkpoint has dropped the lines of later steps, and so of a model that it
 * was going to replace.
 */
export async function findFinished(output: string): Promise<Finished | null> {
  if (!existsSync(modelFolder(output))) return null;
  const path = metricsFile(output);
  const text = await onFiles('INPUT', path, 'read', () => readFile(path, 'utf8').catch(ifAbsent('')));
  let step: number | null = null;
  let temperature: Finished['temperature'];
  let scores: Finished['scores'] = null;
  for (const line of text.split('\n')) {
    const event = eventOf(line);
    if (event?.type === 'step') ({ temperature } = event);
    else if (event?.type === 'evaluation') ({ scores } = event);
    else if (event?.type === 'saved' && basename(event.folder) === basename(modelFolder(output)))
      ({ step } = event);
  }
  return step === null ? null : { step, temperature, scores };
}

/** The event of a line; undefined for half a line, which a killed run leaves. */
function eventOf(line: string): TrainEvent | undefined {
  try {
    return JSON.parse(line) as TrainEvent;
  } catch {
    return undefined;
  }
}

/** What a run that is finished tells when it is resumed. @param notes settings that are others than before: they are not used */
export function leftAsItIs(done: number, notes: readonly string[]): string {
  const unused = notes.length === 0 ? '' : ` Not used: ${notes.join('; ')}.`;
  return (
    `The run is finished: step ${done} of ${done}. Everything is left as it is.${unused} ` +
    'To train further, give more steps (steps, --steps) or epochs (epochs, --epochs).'
  );
}
