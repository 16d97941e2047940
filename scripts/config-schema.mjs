// `node scripts/config-schema.mjs [--write]`: compares the JSON schemas of configuration files with the types that they are made
// of, or writes them. Editors complete and check a file whose "$schema" names one; tsc copies them to dist/lib/training.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Failure, main, root } from './tools.mjs';

const FILES = [
  ['lib/training/config.ts', 'TrainConfig', 'lib/training/train.schema.json'],
  ['lib/training/language/config.ts', 'LanguageTrainConfig', 'lib/training/language/train.schema.json'],
];
/** What a configuration file may have besides, for the command line. */
const OF_FILES = {
  $schema: { type: 'string', description: 'The schema that an editor checks this file by.' },
  gpus: { anyOf: [{ type: 'integer', minimum: 1 }, { const: 'all' }], description: 'GPUs to use together.' },
  timeout: { type: 'number', minimum: 1, description: 'Seconds after which a silent process is given up.' },
};

/** @param {{ write: boolean }} how whether the schemas are written, or compared */
export async function checkSchemas({ write }) {
  // Packages are there only when the set-up has been run.
  const { format } = await import('prettier');
  const { createGenerator } = await import('ts-json-schema-generator');
  for (const [source, type, target] of FILES) {
    const path = join(root, source);
    const settings = {
      path,
      type,
      tsconfig: join(root, 'tsconfig.json'),
      expose: 'none',
      skipTypeCheck: true,
    };
    const { definitions, ...schema } = createGenerator(settings).createSchema(type);
    const config = { ...definitions[type], required: undefined };
    // Flags may give what the file lacks: nothing in it is required.
    const whole = {
      ...schema,
      $ref: undefined,
      ...config,
      properties: { ...OF_FILES, ...config.properties },
    };
    const others = Object.fromEntries(Object.entries(definitions).filter(([name]) => name !== type));
    const all = Object.keys(others).length > 0 ? { ...whole, definitions: others } : whole;
    const text = await format(JSON.stringify(all), { parser: 'json', printWidth: 110 });
    const file = join(root, target);
    if (write) writeFileSync(file, text);
    else if (readFileSync(file, 'utf8') !== text)
      throw new Failure(`${target} is not that of ${source}: node scripts/config-schema.mjs --write`);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  await main(() => checkSchemas({ write: process.argv.includes('--write') }));
