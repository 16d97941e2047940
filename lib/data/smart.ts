import { GradCacheError } from '../errors.js';
import { isDecoded, lineEnds, readRegions } from './text-stream.js';
import type { ReadRecord, RecordBlocks } from './row.js';

/** What the letters before a section stand for. A section with another letter is called by it. */
const SECTIONS: Readonly<Record<string, string>> = {
  T: 'title',
  A: 'author',
  B: 'bibliography',
  W: 'text',
};

/**
 * Reads a collection in the format of the SMART system, as Cranfield, CISI, CACM and MED are published: `.I` begins a document or a
 * query, `.T`, `.A`, `.B` and `.W` its title, authors, source and text. The lines of a section are one text. `_id` is the number of
 * the document in the file: judgements count so, while the numbers of Cranfield's queries leave some out.
 *
 * @throws GradCacheError `INPUT` for a file that does not begin with `.I`
 */
export async function* readSmart(path: string, signal?: AbortSignal): RecordBlocks {
  let open: Collected | undefined;
  let count = 0;
  for await (const { text, line: first } of readRegions(path, lineEnds, signal)) {
    const records: ReadRecord[] = [];
    const lines = text.split('\n');
    if (lines.at(-1) === '') lines.pop();
    for (const [place, raw] of lines.entries()) {
      const line = raw.trimEnd();
      if (/^\.I(\s|$)/.test(line)) {
        if (open !== undefined) records.push(recordOf(open));
        open = { line: first + place, values: { _id: String(++count) }, section: undefined, whole: true };
        continue;
      }
      if (open === undefined) {
        if (line === '') continue;
        throw new GradCacheError(
          'INPUT',
          `${path}, line ${first + place}: a collection in the format smart begins with .I and the number of a document; name another format (format, --format).`,
        );
      }
      const [, letter] = /^\.([A-Z])$/.exec(line) ?? [];
      if (letter !== undefined) open.section = SECTIONS[letter] ?? letter;
      else if (open.section !== undefined && line !== '') add(open, open.section, line);
    }
    yield records;
  }
  if (open !== undefined) yield [recordOf(open)];
}

/** A document of which more lines may come. */
interface Collected {
  readonly line: number;
  readonly values: Record<string, string>;
  section: string | undefined;
  /** Whether all of it is UTF-8. */
  whole: boolean;
}

function add(document: Collected, section: string, line: string): void {
  if (!isDecoded(line)) document.whole = false;
  const before = document.values[section];
  document.values[section] = before === undefined ? line : `${before} ${line}`;
}

function recordOf({ line, values, whole }: Collected): ReadRecord {
  if (!whole) return { line, problem: 'it is not UTF-8 text' };
  return { line, values: { _id: values['_id'], title: '', text: '', ...values } };
}
