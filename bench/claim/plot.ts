import { mean, MEASURES, type Measure, type Series } from './findings.js';

const ROW = 30;
const NAMES = 240;
const WIDTH = 300;
const PANEL = NAMES + WIDTH + 30;
const SHOWN: readonly Measure[] = ['mrr10', 'recall10'];

const STYLE = `
  svg { font: 13px system-ui, sans-serif; background: #fff; }
  text { fill: #222; } .mute { fill: #666; font-size: 11px; }
  .grid { stroke: #ddd; } .dot { fill: #2368b8; fill-opacity: 0.55; } .mean { stroke: #b33a1a; stroke-width: 3; }
  @media (prefers-color-scheme: dark) {
    svg { background: #16181c; } text { fill: #e6e6e6; } .mute { fill: #a0a0a0; } .grid { stroke: #383c44; }
    .dot { fill: #6fa8e8; } .mean { stroke: #ff9a76; }
  }`;

/** A panel for each task and measure; a line in it for each way, with a dot for each seed and a stroke at their mean. */
export function plot(
  tasks: readonly { readonly name: string; readonly series: readonly Series[] }[],
): string {
  let top = 0;
  const panels: string[] = [];
  for (const { name, series } of tasks) {
    SHOWN.forEach((measure, column) =>
      panels.push(
        `<g transform="translate(${column * PANEL} ${top})">${panel(`${name}: ${MEASURES[measure]}`, series, measure)}</g>`,
      ),
    );
    top += (series.length + 3) * ROW;
  }
  const title =
    'Scores on held-out text of models trained with small batches, accumulation, cached and full batches';
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${SHOWN.length * PANEL} ${top}" role="img">
<title>${title}</title><style>${STYLE}</style>
${panels.join('\n')}
</svg>
`;
}

function panel(title: string, series: readonly Series[], measure: Measure): string {
  const values = series.flatMap(({ runs }) => runs.map((run) => run[measure]));
  const [least, step] = axis(Math.min(...values), Math.max(...values));
  const most = least + TICKS * step;
  const x = (value: number): string => (NAMES + (WIDTH * (value - least)) / (most - least)).toFixed(1);
  const bottom = (series.length + 1.2) * ROW;
  const ticks = Array.from({ length: TICKS + 1 }, (_, tick) => {
    const value = least + tick * step;
    return `<line class="grid" x1="${x(value)}" x2="${x(value)}" y1="${ROW}" y2="${bottom}"/><text class="mute" x="${x(value)}" y="${bottom + 16}" text-anchor="middle">${Number(value.toFixed(3))}</text>`;
  });
  const lines = series.map(({ name, runs }, line) => {
    const y = (line + 1.6) * ROW;
    const average = x(mean(runs.map((run) => run[measure])));
    const dots = runs.map((run) => `<circle class="dot" cx="${x(run[measure])}" cy="${y}" r="4"/>`);
    return `<text x="${NAMES - 12}" y="${y + 4}" text-anchor="end">${name}</text>${dots.join('')}<line class="mean" x1="${average}" x2="${average}" y1="${y - 9}" y2="${y + 9}"/>`;
  });
  return `<text x="${NAMES}" y="18">${title}</text>\n${[...ticks, ...lines].join('\n')}`;
}

const TICKS = 5;

/** Round figures that the axis begins with and goes on by. */
function axis(least: number, most: number): [number, number] {
  const rough = Math.max((most - least) / (TICKS - 1), 1e-3);
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * size).find((candidate) => candidate >= rough)!;
  // No score is beyond 1.
  return [Math.min(Math.floor(least / step) * step, 1 - TICKS * step), step];
}
