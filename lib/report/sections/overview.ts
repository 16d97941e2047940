import { isJsonObject } from '../../files/strict-json.js';
import { bytes, count, duration, figure, moment } from '../format.js';
import { html, type Html, type Part } from '../html.js';
import { numberOf, type RunRecord } from '../run-record.js';
import { runName } from './run-name.js';
import { table } from './table.js';

/** What a run came to so far: a few figures of one run, a table of several. */
export function overview(runs: readonly RunRecord[]): Html {
  const facts = runs.map(factsOf);
  const [only] = facts;
  if (facts.length === 1 && only !== undefined)
    return html`<dl class="figures">
      ${only.map(
        ([name, value]) =>
          html`<div>
            <dt>${name}</dt>
            <dd>${value}</dd>
          </div>`,
      )}
    </dl>`;
  const names = [...new Set(facts.flatMap((list) => list.map(([name]) => name)))];
  return table({
    label: 'The runs side by side',
    head: ['', ...runs.map((run, number) => runName(run, number))],
    rows: names.map((name) => [
      name,
      ...facts.map((list): Part => list.find(([each]) => each === name)?.[1] ?? '–'),
    ]),
  });
}

/** How far a run has come, in words. */
export function stateOf({ isFinished, step, planned, secondsLeft }: RunRecord, isLive: boolean): string {
  if (isFinished) return `Finished after ${count(step)} steps`;
  const of = planned === undefined ? '' : ` of ${count(planned)}`;
  const left = isLive && secondsLeft !== undefined ? `, about ${duration(secondsLeft)} left` : '';
  return `${isLive ? 'Running: step' : 'Not finished: step'} ${count(step)}${of}${left}`;
}

function factsOf(run: RunRecord): (readonly [string, Part])[] {
  const { steps, totals, start, begun, seconds, settings } = run;
  const loss = steps.get('loss')?.last;
  const memory = steps.get('peakMemory')?.points.values;
  const [model, data] = [nameOf(settings.model), settings.data];
  const facts: (readonly [string, Part | undefined])[] = [
    ['Steps', run.planned === undefined ? count(run.step) : `${count(run.step)} of ${count(run.planned)}`],
    ['Loss', loss === undefined ? undefined : figure(loss)],
    ['Pairs in a batch', shown(settings.batch)],
    ['Tokens per second', totals.seconds > 0 ? count(totals.tokens / totals.seconds) : undefined],
    ['Peak memory', memory?.length ? bytes(Math.max(...memory)) : undefined],
    ['Time', seconds > 0 ? duration(seconds) : undefined],
    ['Parameters', shown(start.parameters)],
    ['Device', where(start)],
    ['Model', model],
    ['Data', Array.isArray(data) ? data.filter((each) => typeof each === 'string').join(', ') : undefined],
    ['Rows', shown(start.rows)],
    ['Pairs trained on', totals.pairs > 0 ? count(totals.pairs) : undefined],
    ['Tokens trained on', totals.tokens > 0 ? count(totals.tokens) : undefined],
    ['Texts cut to the greatest length', totals.truncated > 0 ? count(totals.truncated) : undefined],
    ['Rows without a negative', totals.maskedRows > 0 ? count(totals.maskedRows) : undefined],
    ['Rows left over in an epoch', start.leftOver ? shown(start.leftOver) : undefined],
    ['Lines skipped', run.skipped.count > 0 ? count(run.skipped.count) : undefined],
    ['Begun', begun === undefined ? undefined : moment(begun)],
  ];
  return facts.flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const]));
}

function shown(value: unknown): string | undefined {
  const number = numberOf(value);
  return number === undefined ? undefined : count(number);
}

/** A model by its folder or name; one from random weights has none. */
function nameOf(model: unknown): string | undefined {
  if (typeof model === 'string') return model;
  return isJsonObject(model) ? 'from random weights' : undefined;
}

function where({ device, precision, ranks }: RunRecord['start']): string | undefined {
  if (typeof device !== 'string') return undefined;
  const several = typeof ranks === 'number' && ranks > 1 ? `${ranks} × ` : '';
  return `${several}${device}${typeof precision === 'string' ? `, ${precision}` : ''}`;
}
