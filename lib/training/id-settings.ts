/*
 * Columns of ids: which a run has, and that its loss is to know rows by them.
 */
import { masksDuplicates, readLoss, requireIds, type FilledLossConfig } from '../losses/loss-kinds.js';
import { OWN_LOSS } from '../losses/own-loss.js';
import { Fields, refuse, SettingError } from '../options/fields.js';
import { isPlainObject } from '../options/realms.js';

/** The loss of a configuration. Ids turn its setting `maskDuplicates` on. @throws GradCacheError `INPUT` */
export function readLossBeside(fields: Fields, ids: boolean): FilledLossConfig {
  const given = fields.raw('loss') ?? {};
  const path = fields.at('loss');
  const loss = readLoss(new Fields(given, path));
  if (!ids) return loss;
  requireIds(fields.at('ids'), loss);
  if (loss.kind === OWN_LOSS || masksDuplicates(loss) || !isPlainObject(given)) return loss;
  if (given['maskDuplicates'] === false)
    throw new SettingError(
      fields.at('ids'),
      'names columns by which duplicates are masked, and loss.maskDuplicates is false: leave one of them out.',
    );
  try {
    return readLoss(new Fields({ ...given, maskDuplicates: true }, path));
  } catch (error) {
    // The configuration need not say maskDuplicates, which the message speaks of.
    if (!(error instanceof SettingError)) throw error;
    throw new SettingError(error.path, `${error.problem} ${fields.at('ids')} turns loss.maskDuplicates on.`);
  }
}

/** @throws SettingError for a column of ids that is something else as well */
export function requireOwnColumns(
  path: string,
  ids: readonly string[] | undefined,
  others: readonly (string | undefined)[],
): void {
  if (ids === undefined) return;
  if (new Set(ids).size < ids.length || ids.includes('__proto__'))
    throw refuse(path, ids, 'a list of different columns');
  if (ids.some((name) => others.includes(name)))
    throw refuse(path, ids, 'a list of columns that are neither texts, nor labels or weights,');
}
