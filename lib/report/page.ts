import { createHash } from 'node:crypto';
import { packageVersion } from '../addon/runtime/paths.js';
import { chartsOf } from './charts.js';
import { moment } from './format.js';
import { asIs, html, jsonIn, type Html } from './html.js';
import type { PageParts } from './page-parts.js';
import type { RunRecord } from './run-record.js';
import { hardest } from './sections/hardest.js';
import { messages } from './sections/messages.js';
import { overview, stateOf } from './sections/overview.js';
import { runName } from './sections/run-name.js';
import { scores } from './sections/scores.js';
import { settings } from './sections/settings.js';
import { STYLE } from './style.js';

/** What a page shows. */
export interface PageOptions {
  /** The script of the page asks its server for news. */
  readonly isLive: boolean;
  /** Default: the name of the run, or how many there are. */
  readonly title?: string | undefined;
}

/** A page about runs, as one file that needs nothing else. */
export function pageOf(runs: readonly RunRecord[], parts: PageParts, options: PageOptions): string {
  const { isLive } = options;
  const title = options.title ?? titleOf(runs);
  const sections = sectionsOf(runs);
  const names = runs.map(({ name }) => name);
  const style = `${parts.chartStyle}\n${STYLE}`;
  const section = (id: SectionId): Html =>
    html`<section id="${id}" aria-labelledby="${id}-title" ${asIs(sections[id] === null ? ' hidden' : '')}>
      <h2 id="${id}-title">${HEADINGS[id]}</h2>
      <div class="content">${sections[id]}</div>
    </section>`;
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta
          http-equiv="Content-Security-Policy"
          content="${policy([parts.chartLibrary, parts.script], style, isLive)}"
        />
        <meta name="referrer" content="no-referrer" />
        <link rel="icon" href="data:," />
        <title>${title} · gradcache</title>
        ${element('style', style)}
      </head>
      <body>
        <main>
          <header>
            <h1>${title}</h1>
            <p id="state" role="status">${states(runs, isLive)}</p>
          </header>
          ${section('overview')} ${section('scores')}
          <section id="training" aria-labelledby="training-title" hidden>
            <h2 id="training-title">Training</h2>
            ${legend(runs)}
            <div class="charts"></div>
          </section>
          <section id="curves" aria-labelledby="curves-title" hidden>
            <h2 id="curves-title">Scores by step</h2>
            ${legend(runs)}
            <div class="charts"></div>
          </section>
          ${section('hardest')} ${section('settings')} ${section('messages')}
          <noscript><p>The charts need JavaScript.</p></noscript>
        </main>
        <footer>gradcache ${packageVersion()} · ${moment(Date.now())}</footer>
        ${element('script type="application/json" id="data"', jsonIn({ isLive, names, charts: chartsOf(runs) }).text)}
        ${element('script', parts.chartLibrary)} ${element('script type="module"', parts.script)}
      </body>
    </html> `.text;
}

const HEADINGS = {
  overview: 'Overview',
  scores: 'Scores on held-out data',
  hardest: 'What it finds hardest',
  settings: 'Settings',
  messages: 'Messages',
} as const;

/** A section whose content comes as HTML. */
export type SectionId = keyof typeof HEADINGS;

/** The content of each section; null where there is nothing to show. */
export function sectionsOf(runs: readonly RunRecord[]): Record<SectionId, Html | null> {
  return {
    overview: overview(runs),
    scores: scores(runs),
    hardest: hardest(runs),
    settings: settings(runs),
    messages: messages(runs),
  };
}

/** How far each run has come. */
export function states(runs: readonly RunRecord[], isLive: boolean): string {
  if (runs.length === 1) return stateOf(runs[0]!, isLive);
  return runs.map((run) => `${run.name}: ${stateOf(run, isLive)}`).join('; ');
}

/** An element whose content is not HTML. Not a byte is added: the policy of the page has a digest of it. */
function element(start: string, content: string): Html {
  return asIs(`<${start}>${content}</${start.split(' ')[0]}>`);
}

function titleOf(runs: readonly RunRecord[]): string {
  return runs.length === 1 ? runs[0]!.name : `${runs.length} runs`;
}

function legend(runs: readonly RunRecord[]): Html | false {
  return (
    runs.length > 1 &&
    html`<p class="legend">${runs.map((run, number) => html`${runName(run, number)} `)}</p>`
  );
}

/** Nothing is loaded, and no script runs but those of the page: text of a user cannot become one. */
function policy(scripts: readonly string[], style: string, isLive: boolean): string {
  const digest = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
  const rules = [
    "default-src 'none'",
    `script-src ${scripts.map(digest).join(' ')}`,
    `style-src ${digest(style)}`,
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
  ];
  return (isLive ? [...rules, "connect-src 'self'"] : rules).join('; ');
}
