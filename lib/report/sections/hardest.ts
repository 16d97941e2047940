import type { HardPair, HardQuery } from '../../evaluation/hardest.js';
import { count, figure, percent } from '../format.js';
import { html, type Html } from '../html.js';
import type { RunRecord } from '../run-record.js';
import { runName } from './run-name.js';

/** What each run found hardest in its last evaluation. Null where no run tells. */
export function hardest(runs: readonly RunRecord[]): Html | null {
  const told = runs.flatMap((run, number) => (run.hardest?.hardest.length ? [{ run, number }] : []));
  if (told.length === 0) return null;
  if (runs.length === 1) return html`${told.map(({ run }) => listOf(run.hardest!))}`;
  return html`${told.map(
    ({ run, number }) =>
      html`<details id="hardest-${number}">
        <summary>${runName(run, number)}</summary>
        ${listOf(run.hardest!)}
      </details>`,
  )}`;
}

function listOf(hardest: NonNullable<RunRecord['hardest']>): Html {
  if (hardest.kind === 'pairs')
    return html`<p>
        Of ${count(hardest.measured)} pairs${ofSet(hardest)} at step ${count(hardest.step)}, those that the
        model places farthest from where people do. 0 % is the least alike of all pairs, 100 % the most alike.
      </p>
      <ol class="cards">
        ${hardest.hardest.map(pair)}
      </ol>`;
  return html`<p>
      Of ${count(hardest.measured)} queries${ofSet(hardest)} at step ${count(hardest.step)},
      ${hardest.missed === 0 ? 'none' : count(hardest.missed)} had a wrong answer first. These are the
      hardest: the right answer lies farthest behind a wrong one, or least ahead of it.
    </p>
    <ol class="cards">
      ${hardest.hardest.map(query)}
    </ol>`;
}

function ofSet({ set }: NonNullable<RunRecord['hardest']>): string {
  return set === undefined ? '' : ` of ${set}`;
}

function query({ query, right, wrong }: HardQuery): Html {
  const rank =
    right.rank === null
      ? 'not among those listed'
      : `rank ${count(right.rank)}, score ${figure(right.score ?? 0)}`;
  return html`<li>
    <p class="text" dir="auto">${query}</p>
    <dl>
      <dt class="right">Right answer <small>${rank}</small></dt>
      <dd dir="auto">${right.text}</dd>
      ${wrong.map(
        ({ text, score }) =>
          html`<dt class="${right.score === null || score >= right.score ? 'wrong' : 'other'}">
              ${right.score === null || score >= right.score ? 'Found instead' : 'Next best'}
              <small>score ${figure(score)}</small>
            </dt>
            <dd dir="auto">${text}</dd>`,
      )}
    </dl>
  </li>`;
}

function pair({ first, second, score, place, similarity, placed }: HardPair): Html {
  return html`<li>
    <p class="text" dir="auto">${first}</p>
    <p class="text" dir="auto">${second}</p>
    <dl>
      <dt>People <small>score ${figure(score)}</small></dt>
      <dd>above ${percent(place)} of the pairs</dd>
      <dt>Model <small>similarity ${figure(similarity)}</small></dt>
      <dd>above ${percent(placed)} of the pairs</dd>
    </dl>
  </li>`;
}
