import { checkLora, type LoraOptions } from '../encoders/lora-options.js';
import { refuse, type Fields } from '../options/fields.js';

/** Reads the adapters of a configuration. @throws GradCacheError `INPUT` */
export function readLora(fields: Fields): LoraOptions {
  const settings = {
    rank: fields.count('rank'),
    alpha: fields.number('alpha', {}),
    dropout: fields.number('dropout', { from: 0, below: 1 }),
    targetModules: namesIn(fields, 'targetModules'),
    excludeModules: namesIn(fields, 'excludeModules'),
    layers: fields.numbers('layers', { from: 0, whole: true }),
    rankPattern: patternsIn(fields, 'rankPattern'),
    alphaPattern: patternsIn(fields, 'alphaPattern'),
    rankStabilized: fields.boolean('rankStabilized'),
    modulesToSave: fields.strings('modulesToSave'),
    bias: fields.oneOf('bias', ['none', 'all', 'lora_only']),
    dora: fields.raw('dora'), // refused with the reason
  };
  const given = Object.entries(settings).filter(([, value]) => value !== undefined);
  const lora: LoraOptions = Object.fromEntries(given);
  checkLora(lora);
  return lora;
}

/** A regular expression, or a list of names. */
function namesIn(fields: Fields, name: string): string | string[] | undefined {
  return typeof fields.raw(name) === 'string' ? fields.string(name) : fields.strings(name);
}

function patternsIn(fields: Fields, name: string): Readonly<Record<string, number>> | undefined {
  return fields.section(name, (patterns) =>
    Object.fromEntries(
      patterns
        .names()
        .map((pattern) => [pattern, patterns.number(pattern, {}) ?? refuseNull(patterns.at(pattern))]),
    ),
  );
}

function refuseNull(path: string): never {
  throw refuse(path, null, 'a number');
}
