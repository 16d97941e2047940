import { refuseStandIn } from '../data/source.js';
import { anyLineEnd, isDecoded, readRegions } from '../data/text-stream.js';
import { GradCacheError } from '../errors.js';
import { show } from '../options/option-values.js';
import { plural } from '../options/plural.js';

const BEIR_NAMES = ['query-id', 'corpus-id', 'score'] as const;

/** Where query, document and score stand in a line. */
type Places = readonly [query: number, document: number, score: number];

/**
 * Reads judgements: by query and document the score, the last one where there are several. Fields are separated by tabs, or
 * by spaces in a line without a tab. A header with BEIR's names says which field is which. Any other file is read by
 * position, with a header or without: three fields are query, document and score, four are those of TREC (query, a number
 * that is not used, document, score).
 *
 * @throws GradCacheError `INPUT` naming file and line
 */
export async function readJudgements(path: string): Promise<Map<string, Map<string, number>>> {
  await refuseStandIn(path, 'data');
  const judged = new Map<string, Map<string, number>>();
  let [number, rows] = [0, 0];
  let places: Places | undefined;
  for await (const { text } of readRegions(path, anyLineEnd)) {
    const lines = text.split(/\r\n|\n|\r/);
    if (lines.at(-1) === '') lines.pop(); // what follows the last line end is no line
    for (const line of lines) {
      number++;
      if (line.trim() === '') continue;
      const faulty = (reason: string) => new GradCacheError('INPUT', `${path}, line ${number}: ${reason}.`);
      if (!isDecoded(line)) throw faulty('it is not UTF-8 text');
      const fields = fieldsOf(line);
      const first = places === undefined;
      places ??= placesByName(fields) ?? placesByPosition(fields);
      if (places === undefined)
        throw faulty(
          `it has ${plural(fields.length, 'field')}; query, document and score are needed, separated by tabs or spaces, or the four ` +
            'of TREC (query, 0, document, score); give such a file as the judgements (judgements, --judgements)',
        );
      const [query, document, score] = places.map((place) => fields[place]);
      if (query === undefined || document === undefined || score === undefined)
        throw faulty(`it has ${plural(fields.length, 'field')}, fewer than the first line`);
      const grade = score === '' ? NaN : Number(score);
      if (!Number.isFinite(grade)) {
        if (first) continue; // the header
        throw faulty(`it judges document ${show(document)} with the score ${score}, not a number`);
      }
      rows++;
      const documents = judged.get(query) ?? new Map<string, number>();
      judged.set(query, documents.set(document, grade));
    }
  }
  if (rows === 0) throw new GradCacheError('INPUT', `${path}: there is no judgement in it.`);
  return judged;
}

/** Fields of a line; one in quotes is without them, as BEIR reads it. */
function fieldsOf(line: string): string[] {
  const fields = line.includes('\t') ? line.split('\t') : line.trim().split(/ +/);
  return fields.map((field) => {
    const text = field.trim();
    return /^"(?:[^"]|"")*"$/.test(text) ? text.slice(1, -1).replaceAll('""', '"') : text;
  });
}

function placesByName(fields: readonly string[]): Places | undefined {
  const places = BEIR_NAMES.map((name) => fields.indexOf(name));
  return places.includes(-1) ? undefined : (places as [number, number, number]);
}

function placesByPosition(fields: readonly string[]): Places | undefined {
  return fields.length === 3 ? [0, 1, 2] : fields.length === 4 ? [0, 2, 3] : undefined;
}
