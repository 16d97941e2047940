import type { LossOptions } from '../../losses/loss.js';
import { textsIn } from '../../data/text-lists.js';
import { SettingError } from '../../options/fields.js';
import type { FilledTrainConfig } from '../read-config.js';
import type { TokenBatch } from '../../tokenizer/tokenizer.js';
import { ofRows, type Texts } from './objective.js';
import { promptOf } from './prompts.js';

/** Rows with lists of texts, as a loss takes them: towers of single texts, and which of them belong to which anchor. */
export interface SpreadRows {
  /** The texts of each tower: anchors, first positives, columns of single negatives. */
  readonly towers: readonly (readonly string[])[];
  /** What the lists hold besides: further positives and negatives, of any number in each row. */
  readonly others: readonly string[];
  readonly options: LossOptions;
  /** All texts of each row. */
  readonly rows: readonly (readonly string[])[];
}

/**
 * Spreads rows with lists. An anchor with several positives has each of them as a target.
 *
 * @param columns anchor, positive and negatives
 * @param lists those of them that have lists
 * @param rows the rows to take; undefined: all
 */
export function spreadLists(
  texts: Texts,
  columns: readonly string[],
  lists: readonly string[],
  rows: Uint32Array | undefined,
): SpreadRows {
  const all = columns.map((column) => {
    const own = ofRows(texts[column] ?? [], rows);
    return lists.includes(column) ? own.map(textsIn) : own.map((text): readonly string[] => [text]);
  });
  const isList = (place: number): boolean => lists.includes(columns[place]!);
  const count = all[0]!.length;
  const towers = all.flatMap((column, place) =>
    place > 1 && isList(place) ? [] : [column.map(([first]) => first!)],
  );
  const others: string[] = [];
  const owners = towers.slice(2).flatMap(() => Array.from({ length: count }, (_, row) => row));
  const targets = Array.from({ length: count }, (_, row) => [row]);
  const begin = (towers.length - 1) * count;
  for (const [place, column] of all.entries()) {
    if (!isList(place)) continue;
    for (const [row, list] of column.entries()) {
      for (const text of place === 1 ? list.slice(1) : list) {
        if (place === 1) targets[row]!.push(begin + others.length);
        owners.push(row);
        others.push(text);
      }
    }
  }
  const own = Array.from({ length: count }, (_, row) => all.flatMap((column) => column[row]!));
  return { towers, others, options: { ...(isList(1) && { targets }), owners }, rows: own };
}

/** Whether the lists of a batch hold anything besides first positives. */
export function haveOthers(texts: Texts, columns: readonly string[], lists: readonly string[]): boolean {
  return lists.some((column) => {
    const first = column === columns[1] ? 1 : 0;
    return texts[column]?.some((list) => textsIn(list).length > first) === true;
  });
}

/** Null in the place of a batch without a text: a tower that has rows on other ranks alone. */
export function present(inputs: readonly TokenBatch[]): readonly (TokenBatch | null)[] {
  return inputs.map((batch) => (batch.offsets.length > 1 ? batch : null));
}

/** What the towers are of: each column, where those with lists of negatives share one with what else is in lists. */
export function towersOf({
  columns,
  lists,
}: Pick<FilledTrainConfig, 'columns' | 'lists'>): readonly string[] {
  if (lists === undefined) return columns;
  const [last] = lists;
  return [...columns.filter((column, place) => place < 2 || !lists.includes(column)), last!];
}

/** @throws SettingError where texts of lists have different prompts: they are in one tower */
export function requireSamePrompt({ lists = [], prompts, datasets }: FilledTrainConfig): void {
  const [first] = lists;
  const other = lists.find((column) => promptOf({ prompts }, column) !== promptOf({ prompts }, first!));
  if (other !== undefined)
    throw new SettingError(
      `config.prompts.${other}`,
      `is another one than that of ${first}: lists have the same prompt.`,
    );
  if (first !== undefined && datasets?.some((set) => Object.keys(set.prompts).length > 0) === true)
    throw new SettingError(
      'config.lists',
      'names columns of lists, for which data sets can have no prompts of their own.',
    );
}
