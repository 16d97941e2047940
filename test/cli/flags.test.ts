import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseFlags, type Flags } from '../../lib/cli/flags.js';

const flags: Flags = {
  bias: { kind: 'number', help: '' },
  betas: { kind: 'numbers', help: '' },
  name: { kind: 'text', help: '' },
};

test('a number below 0 may follow its flag', () => {
  for (const [text, value] of [
    ['-10', -10],
    ['-.5', -0.5],
    ['-1e-3', -1e-3],
  ] as const) {
    assert.equal(parseFlags(flags, ['--bias', text, '--name', 'x']).get('bias'), value);
    assert.equal(parseFlags(flags, [`--bias=${text}`]).get('bias'), value);
  }
  assert.deepEqual(parseFlags(flags, ['--betas', '-1,0.5']).get('betas'), [-1, 0.5]);
  for (const args of [
    ['--bias'],
    ['--bias', '--name', 'x'],
    ['--bias', '-x'],
    ['--bias', '1,2'],
    ['--betas', '1,'],
  ])
    assert.throws(() => parseFlags(flags, args), { code: 'INPUT' }, args.join(' '));
});
