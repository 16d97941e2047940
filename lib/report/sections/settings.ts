import { isJsonObject } from '../../files/strict-json.js';
import { html, type Html } from '../html.js';
import type { RunRecord } from '../run-record.js';
import { runName } from './run-name.js';
import { table } from './table.js';

/** The settings of the runs; of several, those that differ first. */
export function settings(runs: readonly RunRecord[]): Html | null {
  const flat = runs.map((run) => new Map(flatSettings(run.settings)));
  const names = [...new Set(flat.flatMap((each) => [...each.keys()]))];
  if (names.length === 0) return null;
  const rows = (list: readonly string[]): string[][] =>
    list.map((name) => [name, ...flat.map((each) => each.get(name) ?? '–')]);
  const head = ['', ...(runs.length === 1 ? ['Value'] : runs.map(runName))];
  if (runs.length === 1)
    return html`<details id="all-settings">
      <summary>All ${names.length} settings</summary>
      ${table({ label: 'All settings', head, rows: rows(names) })}
    </details>`;
  const differ = names.filter((name) => new Set(flat.map((each) => each.get(name))).size > 1);
  const same = names.filter((name) => !differ.includes(name));
  return html`${
    differ.length === 0
      ? html`<p>All settings are the same.</p>`
      : table({ label: 'Settings that differ', head, rows: rows(differ) })
  }${
    same.length > 0 &&
    html`<details id="same-settings">
      <summary>${same.length} settings that all have in common</summary>
      ${table({ label: 'Settings in common', head: ['', 'Value'], rows: rows(same).map((row) => row.slice(0, 2)) })}
    </details>`
  }`;
}

/** Settings by their paths, as `optimizer.lr`, with their values as JSON. */
export function flatSettings(
  value: Readonly<Record<string, unknown>>,
  path = '',
): (readonly [string, string])[] {
  return Object.entries(value).flatMap(([name, each]) => {
    if (each === undefined) return []; // as in JSON
    const place = path === '' ? name : `${path}.${name}`;
    if (isJsonObject(each) && Object.keys(each).length > 0) return flatSettings(each, place);
    return [[place, typeof each === 'string' ? each : JSON.stringify(each)] as const];
  });
}
