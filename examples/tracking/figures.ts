import type { StepEvent, TrainEvent } from 'gradcache';

const OF_A_STEP = [
  'loss',
  'lr',
  'gradNorm',
  'temperature',
  'tokensPerSecond',
  'pairsPerSecond',
  'peakMemory',
] as const satisfies readonly (keyof StepEvent)[];

/**
 * The numbers that an event of a run tells, by name; null for an event that tells none. One that is not finite, such as the correlation
 * with similarities that are all the same, is left out: JSON has no such number, and a service would refuse all of a request.
 */
export function figuresOf(event: TrainEvent): { step: number; figures: Record<string, number> } | null {
  if (event.type !== 'evaluation' && event.type !== 'step') return null;
  const all: [string, number | null][] =
    event.type === 'evaluation' ? Object.entries(event.scores) : OF_A_STEP.map((name) => [name, event[name]]);
  // A loss without a temperature has none to tell.
  const figures = all.filter(([, value]) => Number.isFinite(value)) as [string, number][];
  return { step: event.step, figures: Object.fromEntries(figures) };
}

/** Settings side by side, as texts: `{ optimizer: { lr: 2e-5 } }` is `{ 'optimizer.lr': '0.00002' }`. */
export function flatSettings(settings: Readonly<Record<string, unknown>>): Record<string, string> {
  const flat: Record<string, string> = {};
  for (const [name, value] of Object.entries(settings)) {
    if (value === undefined) continue; // a setting that the run does without
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      flat[name] = typeof value === 'string' ? value : JSON.stringify(value);
    else
      for (const [inner, text] of Object.entries(flatSettings(value as Record<string, unknown>)))
        flat[`${name}.${inner}`] = text;
  }
  return flat;
}
