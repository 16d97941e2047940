import { drawChart, escape } from './chart.js';
import type { MemoryPoint } from './memory-curve.js';
import type { Settings, Training } from './train.js';

/** One gloss, its term, and what was found for it before and after training. */
export interface Example {
  readonly gloss: string;
  readonly term: string;
  readonly before: readonly string[];
  readonly after: readonly string[];
}

/** Everything the report shows. */
export interface Findings {
  readonly pairs: number;
  readonly heldOut: number;
  readonly parameters: number;
  readonly settings: Settings;
  readonly training: Training;
  readonly recallAt1: { readonly before: number; readonly after: number };
  readonly recallAt10: { readonly before: number; readonly after: number };
  readonly memory: readonly MemoryPoint[];
  readonly examples: readonly Example[];
  readonly seconds: number;
  readonly machine: string;
}

/** The report as one HTML file that needs nothing else. */
export function writeReport(findings: Findings): string {
  const { settings, training, recallAt1, recallAt10, memory } = findings;
  const cachedGrowth = growth(memory.map(({ batch, cached }) => [batch, cached]));
  const figures = [
    [
      percent(recallAt10.after),
      'right term among the first 10',
      `${percent(recallAt10.before)} before training`,
    ],
    [percent(recallAt1.after), 'right term first', `${percent(recallAt1.before)} before training`],
    [count(settings.batch), 'pairs compared in every step', `${settings.chunk} texts in the encoder at once`],
    [
      count(training.tokens / training.seconds),
      'tokens per second',
      `${training.losses.length} steps in ${Math.round(training.seconds)} s`,
    ],
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>gradcache quickstart</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<header>
<p class="name">gradcache quickstart</p>
<h1>A text encoder learned from ${count(findings.pairs)} definitions</h1>
<p>It started from random weights (${count(findings.parameters)} parameters) and was shown definitions from WordNet 3.1 with
their terms. Then it had to find the right term for ${count(findings.heldOut)} definitions it had never seen, among the terms of all of them.</p>
</header>
<section class="figures">
${figures.map(([value, what, more]) => `<div><b>${value}</b><span>${what}</span><small>${more}</small></div>`).join('\n')}
</section>
<section>
<h2>The loss falls</h2>
<p>InfoNCE over batches of ${count(settings.batch)} pairs; guessing would be ln ${settings.batch} = ${Math.log(settings.batch).toFixed(1)}.
It drops where a pass over the data begins anew and definitions are seen again.</p>
${drawChart({
  title: `Loss by step: from ${training.losses[0]?.toFixed(2)} to ${training.losses.at(-1)?.toFixed(2)}`,
  xLabel: 'step',
  yLabel: 'loss',
  curves: [
    {
      label: 'loss',
      colour: 'first',
      points: training.losses.map((loss, index) => [index + 1, loss] as const),
    },
  ],
  formatX: String,
  formatY: (value) => String(value),
})}
</section>
${memory.length === 0 ? '' : memorySection(memory, settings, cachedGrowth)}
<section>
<h2>What it finds</h2>
<p>Definitions that training never saw, and the first terms found for them. The right one is marked.</p>
<div class="scroll"><table>
<thead><tr><th>Definition</th><th>Before training</th><th>After</th></tr></thead>
<tbody>
${findings.examples.map(exampleRow).join('\n')}
</tbody>
</table></div>
</section>
<footer>${escape(findings.machine)}. Everything, these measurements included, took ${Math.round(findings.seconds)} s.
WordNet 3.1 © Princeton University.</footer>
</main>
</body>
</html>
`;
}

function memorySection(memory: readonly MemoryPoint[], settings: Settings, factor: string): string {
  const whole = memory.flatMap(({ batch, whole: bytes }) =>
    bytes === null ? [] : [[batch, mebibytes(bytes)] as const],
  );
  const chart = drawChart({
    title: 'Peak memory of a step by batch size',
    xLabel: 'pairs in the batch',
    yLabel: 'peak memory, MiB',
    logarithmic: true,
    curves: [
      ...(whole.length === 0
        ? []
        : [{ label: 'whole batch at once', colour: 'second' as const, points: whole, marks: true }]),
      {
        label: 'cached',
        colour: 'first',
        points: memory.map(({ batch, cached }) => [batch, mebibytes(cached)] as const),
        marks: true,
      },
    ],
    formatX: count,
    formatY: count,
  });
  return `<section>
<h2>Memory hardly grows with the batch</h2>
<p>Peak memory of one step, each point measured in a process of its own. ${factor}</p>
<p class="legend"><span><i class="first"></i>gradient cache, ${settings.chunk} texts at once</span>${whole.length === 0 ? '' : '<span><i class="second"></i>the whole batch at once</span>'}</p>
${chart}
<div class="scroll"><table class="numbers">
<thead><tr><th>Pairs in the batch</th>${memory.map(({ batch }) => `<th>${count(batch)}</th>`).join('')}</tr></thead>
<tbody>
<tr><td>gradient cache, MiB</td>${memory.map(({ cached }) => `<td>${count(mebibytes(cached))}</td>`).join('')}</tr>
<tr><td>whole batch, MiB</td>${memory.map(({ whole: bytes }) => `<td>${bytes === null ? '–' : count(mebibytes(bytes))}</td>`).join('')}</tr>
</tbody></table></div>
</section>`;
}

function exampleRow({ gloss, term, before, after }: Example): string {
  const list = (terms: readonly string[]): string =>
    terms.map((found) => (found === term ? `<mark>${escape(found)}</mark>` : escape(found))).join(', ');
  return `<tr><td>${escape(gloss)}</td><td>${list(before)}</td><td>${list(after)}</td></tr>`;
}

/** How much more the largest batch takes than the smallest, in words. */
function growth(points: readonly (readonly [batch: number, bytes: number])[]): string {
  const [first, last] = [points[0], points.at(-1)];
  if (first === undefined || last === undefined || last[0] === first[0]) return '';
  return `From ${count(first[0])} to ${count(last[0])} pairs the batch grows ${count(last[0] / first[0])} times, memory ${(last[1] / first[1]).toFixed(2)} times: by the representations, their gradients, the token ids and a tile of the loss.`;
}

function percent(part: number): string {
  return `${(100 * part).toFixed(1)} %`;
}

function count(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

function mebibytes(bytes: number): number {
  return bytes / 2 ** 20;
}

const STYLE = `
:root { color-scheme: light dark; --page: #fbfaf8; --card: #ffffff; --ink: #1d2329; --soft: #5d6771; --rule: #e3e0da; --first: #0b6e69; --second: #c2571a; --mark: #d5efe9; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14181c; --card: #1c2227; --ink: #e8eaec; --soft: #9aa5af; --rule: #30383f; --first: #4cc5b9; --second: #f0935a; --mark: #17453f; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; }
main { max-width: 760px; margin: 0 auto; padding: 48px 20px 64px; }
.name { color: var(--first); font-weight: 600; margin: 0; }
h1 { font-size: 30px; line-height: 1.2; margin: 6px 0 12px; letter-spacing: -.01em; }
h2 { font-size: 20px; margin: 0 0 4px; }
p { margin: 0 0 12px; }
header p:last-child, section > p, footer { color: var(--soft); }
section { background: var(--card); border: 1px solid var(--rule); border-radius: 12px; padding: 22px 24px; margin-top: 20px; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 20px; }
.figures div { display: flex; flex-direction: column; }
.figures b { font-size: 28px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.figures small { color: var(--soft); }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 13px; }
.grid { stroke: var(--rule); }
.axis { stroke: var(--soft); }
.curve { fill: none; stroke-width: 2.5; stroke-linejoin: round; stroke-linecap: round; }
path.first { stroke: var(--first); } path.second { stroke: var(--second); }
circle.first { fill: var(--first); } circle.second { fill: var(--second); }
circle:hover { opacity: 1; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 24px; }
.legend span { display: flex; align-items: center; gap: 8px; }
.legend i { width: 14px; height: 14px; border-radius: 50%; }
.legend i.first { background: var(--first); } .legend i.second { background: var(--second); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; vertical-align: top; padding: 8px 14px 8px 0; border-top: 1px solid var(--rule); }
thead th { border-top: 0; color: var(--soft); font-weight: 500; }
.numbers td, .numbers th { font-variant-numeric: tabular-nums; white-space: nowrap; text-align: right; padding-right: 0; padding-left: 14px; }
.numbers :is(td, th):first-child { text-align: left; padding-left: 0; }
.numbers { margin-top: 12px; }
mark { background: var(--mark); color: inherit; border-radius: 4px; padding: 0 3px; font-weight: 600; }
footer { margin-top: 28px; font-size: 14px; }
`;
