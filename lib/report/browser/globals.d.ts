/** The page has uPlot as a global. */
declare const uPlot: typeof import('uplot');
