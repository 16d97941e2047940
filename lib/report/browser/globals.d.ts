import type library from 'uplot';

declare global {
  /** Loaded by the page before its own script. */
  const uPlot: typeof library;
}
