import type { Chart, ChartLine } from './chart.js';
import type { RunRecord, StepQuantity } from './run-record.js';
import type { Series } from './series.js';

const TITLES: readonly (readonly [StepQuantity, string, Chart['format']])[] = [
  ['loss', 'Loss', 'figure'],
  ['lr', 'Learning rate', 'figure'],
  ['tokensPerSecond', 'Tokens per second', 'count'],
  ['pairsPerSecond', 'Pairs per second', 'count'],
  ['peakMemory', 'Peak memory', 'bytes'],
  ['gradNorm', 'Norm of the gradient', 'figure'],
  ['temperature', 'Temperature', 'figure'],
];

/** All charts of some runs: what their steps tell, then a chart for each score on held-out data. */
export function chartsOf(runs: readonly RunRecord[]): Chart[] {
  const training = TITLES.flatMap(([name, title, format]): Chart[] => {
    const lines = linesOf(runs.map(({ steps }) => steps.get(name)));
    // A temperature that is not learned is a setting.
    if (name === 'temperature' && lines.every(({ values }) => values.every((value) => value === values[0])))
      return [];
    return [{ id: `step-${name}`, group: 'training', title, format, lines }];
  });
  const names = new Set(runs.flatMap(({ scores }) => [...scores.keys()]));
  const scores = [...names].map((name): Chart => ({
    id: `score-${name}`,
    group: 'scores',
    title: name,
    format: 'figure',
    lines: linesOf(runs.map(({ scores }) => scores.get(name)?.series)),
  }));
  return [...training, ...scores].filter(({ lines }) => lines.length > 0);
}

function linesOf(series: readonly (Series | undefined)[]): ChartLine[] {
  return series.flatMap((each, run): ChartLine[] => {
    if (each === undefined) return [];
    const { steps, values } = each.points;
    if (steps.length === 0) return [];
    return [{ run, each: each.each, steps, values: values.map(rounded) }];
  });
}

function rounded(value: number): number {
  return Math.abs(value) < 1e4 ? Number(value.toPrecision(5)) : Math.round(value);
}
