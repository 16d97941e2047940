import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Peak } from '../../bench/support/peak.js';

const program = join(import.meta.dirname, '..', '..', 'bench', 'memory.js');
const MIB = 2 ** 20;

/** A coarse bound, on purpose: allocators and the garbage collector add their share. The bench prints the figures. */
test('memory grows with the batch by little more than representations, their gradients and token ids', () => {
  const measure = (pairs: number) =>
    JSON.parse(
      execFileSync(process.execPath, [program, '--pairs', String(pairs)], { encoding: 'utf8' }),
    ) as Peak;
  const [small, large] = [measure(512), measure(4096)];
  const growth = large.peak - small.peak;
  const allowed = large.unavoidable - small.unavoidable + 32 * MIB;
  assert.ok(
    growth <= allowed,
    `peak memory grew by ${(growth / MIB).toFixed(1)} MiB, allowed are ${(allowed / MIB).toFixed(1)}`,
  );
});
