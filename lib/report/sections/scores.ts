import { count, figure } from '../format.js';
import { html, type Html, type Part } from '../html.js';
import { isBetter, type RunRecord, type ScoreRecord } from '../run-record.js';
import { runName } from './run-name.js';
import { table } from './table.js';

/** Scores on held-out data, before, best and last; of several runs the best of each. Null where no run has any. */
export function scores(runs: readonly RunRecord[]): Html | null {
  const names = [...new Set(runs.flatMap(({ scores }) => [...scores.keys()]))];
  const [run] = runs;
  if (names.length === 0 || run === undefined) return null;
  if (runs.length > 1)
    return html`<p>The best value of each run, the step that had it, and what the first evaluation gave.</p>
      ${table({
        label: 'Scores of the runs',
        head: ['', ...runs.map(runName)],
        rows: names.map((name) => [name, ...runs.map(({ scores }) => bestOf(scores.get(name)))]),
      })}`;
  return table({
    label: 'Scores',
    head: ['', ...headOf(run), 'Change'],
    rows: [...run.scores].map(([name, record]) => rowOf(name, record)),
  });
}

function bestOf(record: ScoreRecord | undefined): Part {
  if (record === undefined) return '–';
  const { best, first } = record;
  return html`${score(best.value)} <small>step ${count(best.step)}, from ${score(first.value)}</small>`;
}

/** The first evaluation is before training where the run measured then. */
function headOf({ scores }: RunRecord): string[] {
  const [record] = scores.values();
  const first = record?.first.step ?? 0;
  return [
    first === 0 ? 'Before' : `First, step ${count(first)}`,
    'Best',
    `Last, step ${count(record?.last.step ?? 0)}`,
  ];
}

function rowOf(name: string, { first, best, last }: ScoreRecord): Part[] {
  const change = last.value - first.value;
  const kind = change === 0 ? 'same' : isBetter(name, last.value, first.value) ? 'better' : 'worse';
  const sign = change > 0 ? '+' : '−';
  return [
    name,
    score(first.value),
    html`${score(best.value)} <small>step ${count(best.step)}</small>`,
    score(last.value),
    html`<span class="${kind}">${change === 0 ? '0' : sign + score(Math.abs(change))}</span>`,
  ];
}

function score(value: number): string {
  return Math.abs(value) <= 1 ? value.toFixed(4) : figure(value);
}
