/*
 * How the columns of a run are read: which have lists of texts, and which has the labels.
 */
import type { LabelOptions } from '../data/labels.js';
import type { ReadOptions } from '../data/read-pairs.js';
import type { Row } from '../data/row.js';
import { kindOf } from '../losses/loss-kinds.js';
import type { FilledTrainConfig } from './read-config.js';

/**
 * Which columns have a list of texts in each row, and which of these lists may be empty.
 *
 * @param columns what the columns of the run are called in this data
 */
export function listOptions(
  config: Pick<FilledTrainConfig, 'columns' | 'loss' | 'lists'>,
  columns: readonly string[],
): Required<Pick<ReadOptions, 'lists' | 'emptyLists'>> {
  if (config.lists === undefined) return { lists: documentLists(config.loss, columns), emptyLists: [] };
  const lists = config.lists.map((name) => columns[config.columns.indexOf(name)]!);
  // An anchor has a positive, and may have no negative.
  return { lists, emptyLists: lists.filter((name) => name !== columns[1]) };
}

/** The column of documents, where a loss takes rows of a query and its documents. */
function documentLists(loss: FilledTrainConfig['loss'], columns: readonly string[]): readonly string[] {
  return kindOf(loss).pairs?.rows === 'documents' && columns.length === 2 ? columns.slice(1) : [];
}

/** The column of numbers beside the texts, labels or weights, and what they are. */
export function labelOptions({
  label,
  weights,
  loss,
  columns,
}: Pick<FilledTrainConfig, 'label' | 'weights' | 'loss' | 'columns'>): LabelOptions | undefined {
  if (weights !== undefined)
    return {
      column: weights,
      type: 'number',
      called: 'weight',
      needs: (weight) => ((weight as number) >= 0 ? undefined : 'a number from 0'),
    };
  const { type, needs } = kindOf(loss).label ?? {};
  if (label === undefined || type === undefined) return undefined;
  const [list] = documentLists(loss, columns);
  // A list of documents has as many texts as its JSON.
  const othersOf = (row: Row): number =>
    list === undefined ? columns.length - 1 : (JSON.parse(row[list]!) as unknown[]).length;
  return { column: label, type, ...(needs && { needs: (value, row) => needs(value, othersOf(row)) }) };
}
