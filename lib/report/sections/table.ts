import { html, type Html, type Part } from '../html.js';

/** A table whose first column names its rows. It scrolls sideways where it does not fit. */
export function table({
  label,
  head,
  rows,
}: {
  /** What it shows, for people who do not see it. */
  readonly label: string;
  readonly head: readonly Part[];
  readonly rows: readonly (readonly Part[])[];
}): Html {
  return html`<div class="scroll" role="region" tabindex="0" aria-label="${label}">
    <table>
      <thead>
        <tr>
          ${head.map((cell) => (cell === '' ? html`<td></td>` : html`<th scope="col">${cell}</th>`))}
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          ([first, ...cells]) =>
            html`<tr>
              <th scope="row">${first}</th>
              ${cells.map((cell) => html`<td>${cell}</td>`)}
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}
