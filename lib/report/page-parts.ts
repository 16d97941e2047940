import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onFiles } from '../files/file-error.js';

/** Files that are put into each page. */
export interface PageParts {
  /** uPlot, which draws the charts, with its licence. */
  readonly chartLibrary: string;
  readonly chartStyle: string;
  /** The page's own script. */
  readonly script: string;
}

/** uPlot formats numbers in the language of the browser. In a browser that runs without a locale it has a name that is none. */
const KNOWN_LANGUAGE =
  "try { new Intl.NumberFormat(navigator.language); } catch { Object.defineProperty(navigator, 'language', { value: 'en-US' }); }\n";

/** Reads what each page consists of. @throws GradCacheError `INPUT` where a file of the installation is gone */
export async function readPageParts(): Promise<PageParts> {
  const uPlot = dirname(createRequire(import.meta.url).resolve('uplot/package.json'));
  const script = fileURLToPath(new URL('./browser/page.js', import.meta.url));
  const read = (path: string): Promise<string> =>
    onFiles('INPUT', path, 'read', async () => (await readFile(path, 'utf8')).replaceAll('\r\n', '\n'));
  const [library, chartStyle, licence, own] = await Promise.all([
    read(join(uPlot, 'dist', 'uPlot.iife.min.js')),
    read(join(uPlot, 'dist', 'uPlot.min.css')),
    read(join(uPlot, 'LICENSE')),
    read(script),
  ]);
  return { chartLibrary: `${KNOWN_LANGUAGE}/*!\n${licence}*/\n${library}`, chartStyle, script: own };
}
