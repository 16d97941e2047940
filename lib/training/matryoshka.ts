import { refuse, SettingError, type Fields } from '../options/fields.js';

/** Reads the lengths of representations that a run trains. @throws GradCacheError `INPUT` */
export function readMatryoshka(fields: Fields) {
  const dimensions =
    fields.numbers('dimensions', { from: 1, whole: true }) ??
    fields.missing('dimensions', 'give the lengths to train, such as [768, 256, 64]');
  if (new Set(dimensions).size < dimensions.length)
    throw refuse(fields.at('dimensions'), dimensions, 'a list of different lengths');
  const weights = fields.numbers('weights', { from: 0 });
  if (weights !== undefined && weights.length !== dimensions.length)
    throw refuse(
      fields.at('weights'),
      weights,
      `a list of ${dimensions.length} weights, one for each dimension,`,
    );
  const dimensionsPerStep = fields.number('dimensionsPerStep', {
    from: 1,
    to: dimensions.length,
    whole: true,
  });
  return { dimensions, weights, dimensionsPerStep };
}

/** @throws SettingError for lengths beyond that of the model's representations */
export function requireWithin(setting: string, dimensions: readonly number[], length: number): void {
  const beyond = dimensions.findIndex((dimension) => dimension > length);
  if (beyond < 0) return;
  throw new SettingError(
    `config.${setting}[${beyond}]`,
    `is ${dimensions[beyond]}, and the model's representations have ${length} numbers; a whole number from 1 to that is needed.`,
  );
}
