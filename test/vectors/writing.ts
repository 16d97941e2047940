import { VectorWriter, type WriterSettings } from '../../lib/vectors/vector-writer.js';
import type { TextRow } from '../../lib/vectors/vector-format.js';

/** Opens a writer of JSON lines, or what the settings say. */
export function openWriter(path: string, settings: Partial<WriterSettings> = {}): Promise<VectorWriter> {
  return VectorWriter.open({
    path,
    format: 'jsonl',
    type: 'float32',
    keep: [],
    ranges: undefined,
    calibrationRows: 100,
    resume: undefined,
    saveEvery: 10,
    decisive: {},
    source: 'the input',
    ...settings,
  });
}

export const rowsOf = (...texts: string[]): TextRow[] =>
  texts.map((text) => ({ text, place: `lines, line ${text}`, kept: {} }));
