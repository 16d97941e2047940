import type { AdapterConfig } from './adapter-config.js';

/*
 * Which modules an adapter is for, by the rules of PEFT: `target_modules` and the keys beside it name modules of the model,
 * such as `encoder.layer.0.attention.self.query`.
 */

/** Every linear layer. */
export const ALL_LINEAR = 'all-linear';

/** Whether a tensor or parameter of this name is of an adapter. */
export const isAdapterWeight = (name: string): boolean => /\.lora_[AB]\.weight$/.test(name);

/** Whether a linear layer has an adapter. */
export function isTarget(config: AdapterConfig, module: string): boolean {
  if (isNamed(config.excluded, module) || isSaved(config, module)) return false;
  if (config.targets === ALL_LINEAR) return true;
  return isNamed(config.targets, module) && (config.layers === null || isInLayers(config, module));
}

/** Whether a module is trained as a whole. */
export function isSaved({ modulesToSave }: AdapterConfig, module: string): boolean {
  const parts = module.split('.');
  return parts.some((_, place) => {
    const above = parts.slice(0, place + 1).join('.');
    return modulesToSave.some((name) => above === name || above.endsWith(`.${name}`));
  });
}

/** What an adapter is like, by its layer's name. */
export function adapterOf(config: AdapterConfig, module: string): { rank: number; scale: number } {
  const rank = valueFor(config.rankPattern, module) ?? config.rank;
  const alpha = valueFor(config.alphaPattern, module) ?? config.alpha;
  return { rank, scale: alpha / (config.rankStabilized ? Math.sqrt(rank) : rank) };
}

/** Whether a module's name is in a list, ends with one of it behind a dot, or is matched as a whole. */
function isNamed(names: string | readonly string[], module: string): boolean {
  if (typeof names === 'string') return new RegExp(`^(?:${names})$`).test(module);
  return names.some((name) => module === name || module.endsWith(`.${name}`));
}

function isInLayers({ layers, layersPattern }: AdapterConfig, module: string): boolean {
  const patterns =
    layersPattern.length === 0
      ? [/^(?:.*?\.)?[^.]*\.(\d+)\./]
      : layersPattern.map((pattern) => new RegExp(`^(?:.*?\\.)?${pattern}\\.(\\d+)\\.`));
  const number = patterns.map((pattern) => pattern.exec(module)?.[1]).find((found) => found !== undefined);
  return number !== undefined && layers!.includes(Number(number));
}

function valueFor(patterns: Readonly<Record<string, number>>, module: string): number | undefined {
  const found = Object.keys(patterns).find((pattern) =>
    new RegExp(`^(?:.*\\.)?(?:${pattern})$`).test(module),
  );
  return found === undefined ? undefined : patterns[found];
}
