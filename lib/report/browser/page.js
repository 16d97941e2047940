/*
 * The script of a page: draws the charts, and keeps a live page up to date. It runs in the browser, in the page itself;
 * uPlot is loaded before it.
 */

/** @typedef {import('../chart.js').Chart} Chart */
/** @typedef {import('../chart.js').ChartLine} ChartLine */

/** @type {{ isLive: boolean, names: string[], charts: Chart[] }} */
const data = JSON.parse(element('data').textContent ?? '');

const COLOURS = 8;
/** Lines of fewer points have them marked. */
const MARKED = 30;
const HEIGHT = 190;

/** @type {Map<string, Plot>} */
const plots = new Map();

/** A chart of the page. */
class Plot {
  /** @param {Chart} chart */
  constructor(chart) {
    this.chart = chart;
    this.figure = make('figure', 'chart');
    const caption = make('figcaption', '');
    this.title = make('span', '');
    this.title.textContent = chart.title;
    this.reading = make('span', 'reading');
    this.plot = make('div', 'plot');
    this.plot.setAttribute('role', 'img');
    this.mean = make('p', 'mean');
    caption.append(this.title, this.reading);
    this.figure.append(caption, this.plot, this.mean);
    place(chart.group).append(this.figure);
    /** @type {import('uplot') | null} */
    this.drawn = null;
    this.draw();
    new ResizeObserver(() => this.drawn?.setSize(this.size())).observe(this.plot);
  }

  size() {
    return { width: Math.max(120, this.plot.clientWidth), height: HEIGHT };
  }

  /** The columns of uPlot: steps, then values of each line. */
  columns() {
    const tables = this.chart.lines.map(({ steps, values }) => [steps, values]);
    const [only] = tables;
    return /** @type {import('uplot').AlignedData} */ (
      tables.length === 1 && only ? only : uPlot.join(/** @type {import('uplot').AlignedData[]} */ (tables))
    );
  }

  draw() {
    const { lines, format } = this.chart;
    const axis = {
      stroke: () => colour('--soft'),
      font: '12px system-ui, sans-serif',
      ticks: { show: false },
    };
    const grid = { stroke: () => colour('--rule'), width: 1 };
    this.drawn = new uPlot(
      {
        ...this.size(),
        legend: { show: false },
        cursor: { sync: { key: 'step' }, y: false },
        scales: { x: { time: false } },
        axes: [
          {
            ...axis,
            grid: { show: false },
            values: (_, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? show(tick, 'count') : '')),
          },
          { ...axis, grid, size: 64, values: (_, ticks) => ticks.map((tick) => show(tick, format)) },
        ],
        series: [
          {},
          ...lines.map(({ run, steps }) => ({
            stroke: () => colour(`--run-${run % COLOURS}`),
            width: 2,
            spanGaps: true,
            points: { show: steps.length < MARKED, size: 6 },
          })),
        ],
        hooks: { setCursor: [() => this.read()] },
      },
      this.columns(),
      this.plot,
    );
    this.describe();
  }

  /** @param {Chart} chart */
  update(chart) {
    const marked = (/** @type {Chart} */ { lines }) =>
      lines.map(({ run, steps }) => `${run} ${steps.length < MARKED}`).join();
    const before = marked(this.chart);
    this.chart = chart;
    if (marked(chart) === before) {
      this.drawn?.setData(this.columns());
      this.describe();
      return;
    }
    this.drawn?.destroy();
    this.draw();
  }

  /** Says in words what the lines show. */
  describe() {
    const { title, lines, format } = this.chart;
    const told = lines.map(({ run, steps, values }) => {
      const last = values.length - 1;
      const name = data.names.length > 1 ? `${data.names[run]}: ` : '';
      return `${name}${show(values[0], format)} at step ${steps[0]}, ${show(values[last], format)} at step ${steps[last]}`;
    });
    this.plot.setAttribute('aria-label', `${title} by step. ${told.join('. ')}`);
    const each = Math.max(...lines.map(({ each }) => each));
    this.mean.textContent =
      each > 1
        ? `A point is the mean of ${each} ${this.chart.group === 'scores' ? 'evaluations' : 'steps'}.`
        : '';
    this.read();
  }

  /** Shows the values under the cursor, or else the last. */
  read() {
    const { lines, format } = this.chart;
    const at = this.drawn?.cursor.idx;
    const [steps, ...columns] = this.columns();
    const step = at === null || at === undefined ? undefined : steps[at];
    const values =
      step === undefined || at === null || at === undefined
        ? lines.map(({ values }) => values.at(-1))
        : columns.map((values) => values[at]);
    const told = values.map((value) => (typeof value === 'number' ? show(value, format) : '–')).join(' · ');
    this.reading.textContent = step === undefined ? told : `${step}: ${told}`;
  }
}

/**
 * A value in few digits.
 *
 * @param {number | undefined} value
 * @param {Chart['format']} format
 */
function show(value, format) {
  if (value === undefined) return '';
  if (format === 'bytes') {
    const mebibytes = value / 2 ** 20;
    return mebibytes < 1024 ? `${Math.round(mebibytes)} MiB` : `${Number((mebibytes / 1024).toFixed(2))} GiB`;
  }
  const size = Math.abs(value);
  if (format === 'count' || size >= 1e4) {
    if (size < 1e4) return String(Number(value.toFixed(size < 100 ? 1 : 0)));
    return size < 1e6
      ? `${Number((value / 1e3).toPrecision(4))}k`
      : `${Number((value / 1e6).toPrecision(4))}M`;
  }
  if (size !== 0 && size < 1e-3) return value.toExponential(2).replace(/\.?0+e/, 'e');
  return String(Number(value.toPrecision(4)));
}

/** @param {string} name of a variable of the style */
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** @param {Chart['group']} group */
function place(group) {
  const section = element(group === 'training' ? 'training' : 'curves');
  section.hidden = false;
  return /** @type {HTMLElement} */ (section.querySelector('.charts'));
}

/** @param {string} id */
function element(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`The page has no ${id}.`);
  return found;
}

/** @param {string} name @param {string} kind */
function make(name, kind) {
  const made = document.createElement(name);
  if (kind !== '') made.className = kind;
  return made;
}

/** @param {Chart} chart */
function drawChart(chart) {
  const plot = plots.get(chart.id);
  if (plot === undefined) plots.set(chart.id, new Plot(chart));
  else plot.update(chart);
}

for (const chart of data.charts) drawChart(chart);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  for (const { drawn } of plots.values()) drawn?.redraw(false);
});
if (data.isLive) follow();

/** Takes the news of a run that is under way, until it ends. */
function follow() {
  const source = new EventSource('events');
  source.addEventListener('news', ({ data: text }) => {
    /** @type {{ state: string, sections: Record<string, string>, charts: (Omit<Chart, 'lines'> & { lines: (ChartLine & { from: number })[] })[] }} */
    const news = JSON.parse(text);
    say(news.state);
    for (const [id, content] of Object.entries(news.sections)) renew(id, content);
    for (const chart of news.charts) {
      const before = plots.get(chart.id)?.chart.lines ?? [];
      drawChart({
        ...chart,
        lines: chart.lines.map((line) =>
          joined(
            before.find(({ run }) => run === line.run),
            line,
          ),
        ),
      });
    }
  });
  source.addEventListener('end', () => source.close());
  source.addEventListener('error', () => {
    if (source.readyState !== EventSource.CLOSED) say('No news: the run has ended, or its process has gone');
  });
}

/**
 * A line with its new points, which begin at `from`.
 *
 * @param {ChartLine | undefined} before
 * @param {ChartLine & { from: number }} line
 */
function joined(before, { from, steps, values, ...line }) {
  return {
    ...line,
    steps: [...(before?.steps.slice(0, from) ?? []), ...steps],
    values: [...(before?.values.slice(0, from) ?? []), ...values],
  };
}

/** @param {string} state */
function say(state) {
  const shown = element('state');
  if (shown.textContent !== state) shown.textContent = state;
}

/**
 * Puts in new content, made and escaped by the server. What was opened stays open.
 *
 * @param {string} id
 * @param {string} content
 */
function renew(id, content) {
  const section = element(id);
  const place = /** @type {HTMLElement} */ (section.querySelector('.content'));
  const open = [...place.querySelectorAll('details[open]')].map(({ id }) => id);
  place.innerHTML = content;
  for (const id of open) document.getElementById(id)?.setAttribute('open', '');
  section.hidden = content === '';
}
