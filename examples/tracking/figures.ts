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

/** The numbers that an event of a run tells, by name; null for an event that tells none. */
export function figuresOf(event: TrainEvent): { step: number; figures: Record<string, number> } | null {
  if (event.type === 'evaluation') return { step: event.step, figures: { ...event.scores } };
  if (event.type !== 'step') return null;
  // A loss without a temperature has none to tell.
  const figures = OF_A_STEP.flatMap((name) => (event[name] === null ? [] : [[name, event[name]] as const]));
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
