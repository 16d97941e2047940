import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  formatBytes,
  formatCount,
  formatFigure,
  formatRate,
  formatSeconds,
  ProgressLine,
} from '../../lib/cli/terminal.js';

function screen(isTTY: boolean) {
  const written: string[] = [];
  return { written, isTTY, columns: 24, write: (text: string) => written.push(text) };
}

test('on a terminal the line is drawn over itself, cut to the width, and taken away for lines that stay', () => {
  const terminal = screen(true);
  const line = new ProgressLine(terminal);
  line.show('a line that is longer than the terminal is wide');
  line.show('too soon after the first');
  line.show('but this must be seen', { always: true });
  line.say('done');
  line.clear();
  assert.deepEqual(terminal.written, [
    '\r\x1b[2Ka line that is longer t',
    '\r\x1b[2Kbut this must be seen',
    '\r\x1b[2K',
    'done\n',
  ]);
});

test('elsewhere plain lines are written, seldom, and nothing that is only of the moment', () => {
  const log = screen(false);
  const line = new ProgressLine(log);
  line.show('chunk 1', { passing: true });
  line.show('step 1');
  line.show('step 2');
  line.show('step 3', { always: true });
  line.say('done');
  line.clear();
  assert.deepEqual(log.written, ['step 1\n', 'step 3\n', 'done\n']);
});

test('figures are short', () => {
  assert.deepEqual([0, 512 * 2 ** 20, 1.25 * 2 ** 30].map(formatBytes), ['0 MiB', '512 MiB', '1.3 GiB']);
  assert.deepEqual([0.4, 59, 61, 3725].map(formatSeconds), ['0 s', '59 s', '1 min 01 s', '1 h 02 min']);
  assert.deepEqual(
    [0, 0.6931471, 12.3456, 1234.56, 98_765.4, 2e-5, 1.23456e-7, -0.5, NaN].map(formatFigure),
    ['0', '0.6931', '12.35', '1235', '98765', '2e-5', '1.235e-7', '-0.5000', 'NaN'],
  );
  assert.deepEqual([0.01, 3e-5, 1].map(formatRate), ['0.01', '3e-5', '1']);
  assert.deepEqual([3.21, 123.4, 45_600, 7_890_000].map(formatCount), ['3.2', '123', '45.6k', '7.9M']);
});
