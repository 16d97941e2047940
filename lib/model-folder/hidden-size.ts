import { GradCacheError } from '../errors.js';

/** The width of a transformer's layers, as config.json states it. @throws GradCacheError `INPUT` */
export function hiddenSizeOf(config: Readonly<Record<string, unknown>>): number {
  const size = config.hidden_size ?? config.dim ?? config.d_model;
  if (typeof size === 'number') return size;
  throw new GradCacheError(
    'INPUT',
    'The config states no hidden_size (or dim), which the module behind the transformer needs.',
  );
}
