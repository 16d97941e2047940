import { realpath } from 'node:fs/promises';
import { throwIfAborted } from '../../options/abort.js';
import { ChildProgram, NoAnswer } from '../../processes/child-program.js';
import { GradCacheError } from '../../errors.js';
import { fileError, onFiles } from '../../files/file-error.js';
import { show } from '../../options/option-values.js';
import type { RecordOptions } from '../record-options.js';
import type { ReadRecord, RecordBlocks } from '../row.js';
import { kindOfSource, STANDARD_INPUT } from '../source.js';
import { isDecoded } from '../text-stream.js';
import { chooseColumns, type ChosenColumn, type TypedColumn } from '../typed-columns.js';
import type { DecoderReply, DecoderRequest, ParquetBlock } from './decoder-program.js';

const PROGRAM = new URL('./decoder-program.js', import.meta.url);

/** How a Parquet file is read. */
export interface ParquetOptions extends RecordOptions {
  /** Seconds that decoding may take without finishing a page. */
  readonly patience?: number;
}

/**
 * Reads text columns of a Parquet file, row group after row group, in a process of its own: that may die of a damaged file.
 * A row group is in that process's memory at a time, and two blocks of records here.
 *
 * @throws GradCacheError `INPUT`, naming the file, where it is damaged or has no such text column, or no process can be
 * started; `ABORTED` when the signal fires
 */
export async function* readParquet(path: string, options: ParquetOptions): RecordBlocks {
  if ((await kindOfSource(path)) !== 'file')
    throw new GradCacheError(
      'INPUT',
      `${path} is a pipe, and Parquet is read from its end: use a regular file.`,
    );
  const { signal, patience } = options;
  throwIfAborted(signal);
  let decoder: ChildProgram<DecoderRequest, DecoderReply> | undefined;
  try {
    decoder = new ChildProgram(PROGRAM, signal, patience);
    const ask = async (request: DecoderRequest) => answerIn(await decoder!.ask(request), path);
    const { columns: found = [] } = await ask({ ask: 'columns', path: await placeOf(path) });
    const columns = chooseColumns(found, path, options);
    const askBlock = () => ask({ ask: 'block', columns: columns.map(({ name }) => name) });
    let line = 1;
    for (let coming = askBlock(); ;) {
      const { block } = await coming;
      if (block === undefined) return;
      coming = askBlock(); // one block ahead
      coming.catch(() => undefined); // thrown when its turn comes
      yield toRecords(block, columns, line);
      line += block[0]!.length;
    }
  } catch (error) {
    throwIfAborted(signal);
    throw error instanceof NoAnswer ? undecoded(path, error) : error;
  } finally {
    decoder?.end();
  }
}

/**
 * How many rows each of some Parquet files has, as the ends of the files say. No row is read.
 *
 * @throws GradCacheError `INPUT`, naming the file, where it is damaged or cannot be read; `ABORTED` when the signal fires
 */
export async function countParquet(
  paths: readonly string[],
  { signal, patience }: Pick<ParquetOptions, 'signal' | 'patience'> = {},
): Promise<number[]> {
  const counts: number[] = [];
  if (paths.length === 0) return counts;
  let path = paths[0]!;
  let decoder: ChildProgram<DecoderRequest, DecoderReply> | undefined;
  try {
    throwIfAborted(signal);
    decoder = new ChildProgram(PROGRAM, signal, patience);
    for (path of paths) {
      const reply = await decoder.ask({ ask: 'rows', path: await placeOf(path) });
      counts.push(answerIn(reply, path).rows!);
    }
    return counts;
  } catch (error) {
    throwIfAborted(signal);
    throw error instanceof NoAnswer ? undecoded(path, error) : error;
  } finally {
    decoder?.end();
  }
}

/** Where a file is for another process, whose standard input is another one. */
async function placeOf(path: string): Promise<string> {
  return path === STANDARD_INPUT ? onFiles('INPUT', path, 'read', () => realpath(path)) : path;
}

interface Answer {
  readonly rows?: number;
  readonly columns?: readonly TypedColumn[];
  readonly block?: ParquetBlock;
}

function answerIn(reply: DecoderReply, path: string): Answer {
  if ('failed' in reply) {
    const { message, code } = reply.failed;
    throw fileError('INPUT', path, 'read as Parquet', Object.assign(new Error(message), { code }));
  }
  return reply;
}

/** The error for a file whose decoder gives no answer. */
function undecoded(path: string, { why, message, cause }: NoAnswer): GradCacheError {
  const text = {
    'not started': `${path} cannot be read as Parquet: the process that decodes it cannot be started: ${message}. Let Node start processes and threads (--allow-child-process, --allow-worker, limits of the system), keep gradcache out of a bundle, or convert the file to JSONL.`,
    ended: `${path} is damaged, or a row group of it needs more memory than there is: the process that decodes it ended, ${message}. Write it anew, with smaller row groups, or convert it to JSONL.`,
    silent: `${path} is damaged: decoding it came to no end, ${message}. Write it anew.`,
    stopped: `${path} was not read to its end: ${message}.`,
  }[why];
  return new GradCacheError('INPUT', text, { cause });
}

function toRecords(block: ParquetBlock, columns: readonly ChosenColumn[], firstLine: number): ReadRecord[] {
  return block[0]!.map((_, row) => {
    const line = firstLine + row;
    const values: Record<string, unknown> = {};
    for (const [place, { as }] of columns.entries()) {
      const value = block[place]![row];
      const texts = Array.isArray(value) ? value : [value];
      if (texts.some((text) => typeof text === 'string' && !isDecoded(text)))
        return { line, problem: `${show(as)} is not UTF-8 text` };
      values[as] = value;
    }
    return { line, values };
  });
}
