/** What the server answers, compared with its OpenAPI document by schemathesis: to data that fits it, and to other data. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { serve, type CrossEncoder, type TextEncoder } from '../../lib/index.js';
import { tinyCrossEncoder, tinyModel } from '../serve/support.js';
import { oraclePackages } from './python.js';

test('a server keeps to its OpenAPI document, that of a text encoder and that of a cross-encoder', async () => {
  await Promise.all([keepsToDocument(tinyModel()), keepsToDocument(tinyCrossEncoder())]);
});

async function keepsToDocument(model: TextEncoder | CrossEncoder): Promise<void> {
  const apiKey = 'a-key';
  {
    await using server = await serve(model, { port: 0, truncate: true, apiKey });
    const { code, output } = await schemathesis(server.url, apiKey);
    assert.equal(code, 0, output);
    assert.match(output, /\d+ generated, \d+ passed/);
  }
  model.dispose();
}

function schemathesis(url: string, key: string): Promise<{ code: number | null; output: string }> {
  const program = ['-m', 'schemathesis.cli', 'run', `${url}/openapi.json`, '--checks', 'all', '--no-color'];
  const child = spawn(
    process.env.GRADCACHE_PYTHON || 'python3',
    [...program, '--max-examples', '15', '--seed', '1', '--header', `Authorization: Bearer ${key}`],
    // It keeps a folder of what it found where it runs.
    { cwd: tmpdir(), env: { ...process.env, PYTHONPATH: oraclePackages } },
  );
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  return new Promise((resolve, reject) => {
    child.on('error', reject).on('close', (code) => resolve({ code, output }));
  });
}
