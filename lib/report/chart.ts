/** A quantity by step, a line for each run that has it. The script of the page draws it. */
export interface Chart {
  /** The same in every state of a live page. */
  readonly id: string;
  readonly group: 'training' | 'scores';
  readonly title: string;
  readonly format: 'figure' | 'count' | 'bytes';
  readonly lines: readonly ChartLine[];
}

/** The points of one run. */
export interface ChartLine {
  /** The number of the run, which gives the line its colour. */
  readonly run: number;
  /** Steps that a point stands for. */
  readonly each: number;
  readonly steps: readonly number[];
  /** In four significant digits, or whole numbers where they are large. */
  readonly values: readonly number[];
}
