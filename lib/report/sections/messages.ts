import { count } from '../format.js';
import { html, type Html } from '../html.js';
import type { Messages, RunRecord } from '../run-record.js';
import { runName } from './run-name.js';

/** What the runs told their users, and which lines of data they skipped. Null where there is nothing. */
export function messages(runs: readonly RunRecord[]): Html | null {
  const told = runs.flatMap((run, number) =>
    run.notes.count + run.skipped.count > 0 ? [{ run, number }] : [],
  );
  if (told.length === 0) return null;
  return html`${told.map(
    ({ run, number }) =>
      html`${runs.length > 1 && html`<h3>${runName(run, number)}</h3>`}
      ${list('Notes', run.notes)}${list('Skipped lines', run.skipped)}`,
  )}`;
}

function list(title: string, { first, count: all }: Messages): Html | null {
  if (all === 0) return null;
  const more = all - first.length;
  return html`<p class="list">${title}</p>
    <ul>
      ${first.map((message) => html`<li dir="auto">${message}</li>`)}${
        more > 0 && html`<li>and ${count(more)} more</li>`
      }
    </ul>`;
}
