import { writeSync } from 'node:fs';

/** Writes to the parent at once, before what follows may end the process; a full pipe is waited for. */
export function print(text: string): void {
  for (let rest = Buffer.from(text); rest.length > 0;) {
    try {
      rest = rest.subarray(writeSync(REPORTS, rest));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    }
  }
}

/** Standard output is the program's own: what is tried may write there. */
const REPORTS = 3;
