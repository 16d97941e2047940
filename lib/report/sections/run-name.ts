import { html, type Html } from '../html.js';
import type { RunRecord } from '../run-record.js';

/** Lines have so many colours; further runs begin again with the first. */
export const COLOURS = 8;

/** The name of a run behind a mark in the colour of its lines. */
export function runName({ name }: RunRecord, number: number): Html {
  return html`<span class="run"><i class="run-${number % COLOURS}"></i>${name}</span>`;
}
