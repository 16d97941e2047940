/*
 * What else looks on while a command trains: a page, and a file for TensorBoard.
 */
import type { Ranks } from '../distributed/ranks.js';
import { EventFile } from '../report/tensorboard/event-file.js';
import { LivePage } from '../report/live-page.js';
import { number, optional, text, UsageError, type Arguments, type Flags } from './flags.js';
import type { ProgressLine } from './terminal.js';

export const WATCH_FLAGS = {
  ui: optional(
    number('PORT', 'show the run as a page on this machine; its address is told; by itself: on a free port'),
  ),
  tensorboard: text('FOLDER', 'write a file for TensorBoard there'),
} as const satisfies Flags;

/** Those who look on. */
export interface Watchers {
  add(event: { readonly type: string }): void;
  /** Lets the page go, and ends the file. */
  close(): Promise<void>;
}

/**
 * Opens what is asked for. Of several ranks the first has them.
 *
 * @param output the output folder of the run
 * @throws GradCacheError `INPUT`, UsageError for what is no port
 */
export async function openWatchers(
  args: Arguments,
  output: string,
  progress: ProgressLine,
  ranks: Ranks | null,
): Promise<Watchers> {
  const [port, folder] = [portOf(args), args.text('tensorboard')];
  const isFirst = ranks === null || ranks.rank === 0;
  const page = isFirst && port !== null ? await LivePage.open(output, port) : null;
  const file = isFirst && folder !== undefined ? new EventFile(folder) : null;
  if (page !== null) progress.say(`the run can be watched at ${page.url}`);
  return {
    add(event) {
      page?.add(event);
      file?.add(event);
    },
    async close() {
      await page?.close();
      await file?.close();
    },
  };
}

/** The port of the page; null where none is asked for. */
function portOf(args: Arguments): number | null {
  const given = args.get('ui');
  if (given === undefined || given === false) return null;
  if (given === true) return 0;
  const port = given as number;
  if (Number.isInteger(port) && port >= 0 && port < 65536) return port;
  throw new UsageError(`--ui is ${port}; a port from 0 to 65535 is needed, or none.`);
}
