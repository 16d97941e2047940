/** One curve: points in data coordinates, drawn in the colour of a CSS class. */
export interface Curve {
  readonly label: string;
  /** Class of its colour: `first` or `second`. */
  readonly colour: 'first' | 'second';
  readonly points: readonly (readonly [x: number, y: number])[];
  /** Marks every point; for curves of a few measured points. */
  readonly marks?: boolean;
}

/** A chart with one horizontal and one vertical axis. */
export interface Chart {
  /** What the chart says, for people who do not see it. */
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly curves: readonly Curve[];
  /** The horizontal axis goes in powers of two. */
  readonly logarithmic?: boolean;
  readonly formatX: (value: number) => string;
  readonly formatY: (value: number) => string;
}

const WIDTH = 640;
const HEIGHT = 340;
const MARGIN = { top: 16, right: 32, bottom: 48, left: 64 };

/** Draws a chart as inline SVG. Colours come from the page: classes `axis`, `grid`, `first` and `second`. */
export function drawChart(chart: Chart): string {
  const all = chart.curves.flatMap(({ points }) => points);
  const scaleX = (x: number): number => (chart.logarithmic ? Math.log2(x) : x);
  const [left, right] = [Math.min(...all.map(([x]) => scaleX(x))), Math.max(...all.map(([x]) => scaleX(x)))];
  const yTicks = ticks(0, Math.max(...all.map(([, y]) => y)) * 1.04);
  const top = yTicks.at(-1) as number;
  const toX = (x: number): number => {
    const part = right === left ? 0.5 : (scaleX(x) - left) / (right - left);
    return MARGIN.left + part * (WIDTH - MARGIN.left - MARGIN.right);
  };
  const toY = (y: number): number =>
    HEIGHT - MARGIN.bottom - (y / top) * (HEIGHT - MARGIN.top - MARGIN.bottom);

  const xTicks = chart.logarithmic
    ? [...new Set(all.map(([x]) => x))].sort((a, b) => a - b)
    : ticks(left, right);
  const parts = [
    ...yTicks.map((y) => line('grid', MARGIN.left, toY(y), WIDTH - MARGIN.right, toY(y))),
    line('axis', MARGIN.left, toY(0), WIDTH - MARGIN.right, toY(0)),
    ...yTicks.map((y) => text(chart.formatY(y), MARGIN.left - 8, toY(y) + 4, 'end')),
    ...xTicks
      .filter((x) => scaleX(x) >= left && scaleX(x) <= right)
      .map((x) => text(chart.formatX(x), toX(x), HEIGHT - MARGIN.bottom + 18, 'middle')),
    text(chart.xLabel, (MARGIN.left + WIDTH - MARGIN.right) / 2, HEIGHT - 8, 'middle'),
    `<text transform="translate(14 ${(HEIGHT - MARGIN.bottom) / 2}) rotate(-90)" text-anchor="middle">${escape(chart.yLabel)}</text>`,
    ...chart.curves.map((curve) => drawCurve(curve, toX, toY, chart)),
  ];
  return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escape(chart.title)}">${parts.join('')}</svg>`;
}

function drawCurve(
  { points, colour, marks }: Curve,
  toX: (x: number) => number,
  toY: (y: number) => number,
  chart: Chart,
): string {
  const path = points
    .map(([x, y], index) => `${index === 0 ? 'M' : 'L'}${toX(x).toFixed(1)} ${toY(y).toFixed(1)}`)
    .join('');
  const dots = points.map(([x, y]) => {
    const tip = `${chart.formatX(x)}: ${chart.formatY(y)}`;
    return `<circle class="${colour}" cx="${toX(x).toFixed(1)}" cy="${toY(y).toFixed(1)}" r="${marks ? 4.5 : 6}"${marks ? '' : ' opacity="0"'}><title>${escape(tip)}</title></circle>`;
  });
  return `<path class="curve ${colour}" d="${path}"/>${dots.join('')}`;
}

/** About five round numbers from at most `low` to at least `high`. */
function ticks(low: number, high: number): number[] {
  const rough = (high - low || 1) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough) as number) * power;
  const list: number[] = [];
  for (let value = Math.floor(low / step) * step; value < high + step * 0.999; value += step)
    list.push(Number(value.toPrecision(12)));
  return list;
}

function line(kind: string, x1: number, y1: number, x2: number, y2: number): string {
  return `<line class="${kind}" x1="${x1}" y1="${y1.toFixed(1)}" x2="${x2}" y2="${y2.toFixed(1)}"/>`;
}

function text(content: string, x: number, y: number, anchor: string): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}">${escape(content)}</text>`;
}

/** Text as it may stand in HTML and in its attributes. */
export function escape(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
