import type { ReadRecord, RecordBlocks } from './row.js';
import { isDecoded, lineEnds, readRegions, type Region } from './text-stream.js';

/** Reads JSON lines: an object, or an array of texts, on every line. Blank lines are passed over. */
export async function* readJsonLines(path: string, signal?: AbortSignal): RecordBlocks {
  for await (const region of readRegions(path, lineEnds, signal)) yield jsonLinesIn(region);
}

/** The records in whole lines. */
export function jsonLinesIn({ text, line }: Region): ReadRecord[] {
  const records: ReadRecord[] = [];
  let number = line;
  for (const raw of text.split('\n')) {
    if (raw.trim() !== '') records.push(parseLine(raw, number));
    number++;
  }
  return records;
}

function parseLine(text: string, line: number): ReadRecord {
  if (!isDecoded(text)) return { line, problem: 'it is not UTF-8 text' };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { line, problem: `it is not JSON (${(error as Error).message})` };
  }
  if (typeof value !== 'object' || value === null) {
    return { line, problem: 'it is neither a JSON object nor an array of texts' };
  }
  return { line, values: value as Record<string, unknown> | unknown[] };
}
