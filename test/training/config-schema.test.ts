import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { readLanguageConfig } from '../../lib/training/language/read-config.js';
import { readTrainConfig } from '../../lib/training/read-config.js';

interface Schema {
  readonly properties: Readonly<Record<string, unknown>>;
  readonly additionalProperties: boolean;
}

async function schema(name: string): Promise<Schema> {
  const file = new URL(`../../lib/training/${name}train.schema.json`, import.meta.url);
  return JSON.parse(await readFile(file, 'utf8')) as Schema;
}

test('the published schemas know the settings that configuration files have, and no others', async () => {
  const pairs = readTrainConfig({ model: 'm', data: 'd', output: 'o', batch: 4 });
  const language = readLanguageConfig({ model: {}, data: 'd', output: 'o', rows: 1, segment: { length: 3 } });
  for (const [name, config] of [
    ['', pairs],
    ['language/', language],
  ] as const) {
    const { properties, additionalProperties } = await schema(name);
    const { $schema, gpus, timeout, ...settings } = properties;
    assert.ok($schema && gpus && timeout);
    assert.deepEqual(Object.keys(settings).sort(), Object.keys(config).sort());
    assert.equal(additionalProperties, false);
  }
});
