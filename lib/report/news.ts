import type { Chart, ChartLine } from './chart.js';
import { chartsOf } from './charts.js';
import { sectionsOf, states, type SectionId } from './page.js';
import type { RunRecord } from './run-record.js';

/** What a live page takes in: the script of the page reads it. */
export interface News {
  readonly state: string;
  /** The HTML of sections that have changed. */
  readonly sections: Readonly<Partial<Record<SectionId, string>>>;
  /** Charts with new points. */
  readonly charts: readonly ChartNews[];
}

type ChartNews = Omit<Chart, 'lines'> & {
  readonly lines: readonly (ChartLine & { readonly from: number })[];
};

/** Tells pages what is new of a run since it told last. */
export class NewsOfRun {
  readonly #sections = new Map<SectionId, string>();
  /** What was told of each line of a chart. */
  readonly #lines = new Map<string, { readonly each: number; readonly told: number }>();

  constructor(readonly run: RunRecord) {}

  /** What is new since the last call. */
  since(): News {
    const { run } = this;
    const sections: Partial<Record<SectionId, string>> = {};
    for (const [id, content] of Object.entries(sectionsOf([run])) as [SectionId, { text: string } | null][]) {
      const text = content?.text ?? '';
      if (this.#sections.get(id) === text) continue;
      this.#sections.set(id, text);
      sections[id] = text;
    }
    const charts = chartsOf([run]).map((chart) => ({
      ...chart,
      lines: chart.lines
        .map((line) => this.#newPoints(chart.id, line))
        .filter(({ steps }) => steps.length > 0),
    }));
    return { state: states([run], true), sections, charts: charts.filter(({ lines }) => lines.length > 0) };
  }

  /** Everything, for a page that has just been opened. */
  whole(): News {
    return new NewsOfRun(this.run).since();
  }

  /** The last point that was told may have been in the making: it is told again. */
  #newPoints(id: string, line: ChartLine): ChartNews['lines'][number] {
    const before = this.#lines.get(id);
    const { length } = line.steps;
    const goesOn = before?.each === line.each && before.told <= length;
    const from = goesOn ? Math.max(0, before.told - 1) : 0;
    this.#lines.set(id, { each: line.each, told: length });
    return { ...line, from, steps: line.steps.slice(from), values: line.values.slice(from) };
  }
}
