/** Ranks on two machines, which are network namespaces here. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openNetwork } from './namespaces.js';
import { startRanks } from './start-ranks.js';

const network = openNetwork();

test(
  'a cable that is cut in a step ends the ranks of both machines after the timeout, and gradients are as before',
  { skip: network === null && 'network namespaces need root' },
  async (t) => {
    t.after(() => {
      network!.dispose();
    });
    const timeout = 5;
    const { said, ends } = await startRanks(2, 'failures-program.js', ['cut off'], {
      env: { TIMEOUT: String(timeout), MASTER_ADDR: network!.address },
      through: network!.on,
    });
    await Promise.race([Promise.all([0, 1].map((rank) => said(rank, 'begins'))), ends]);
    const cut = performance.now();
    network!.cut();
    const all = await ends;
    assert.ok(performance.now() - cut < (timeout + 40) * 1000, `${performance.now() - cut} ms`);
    for (const { code, stdout, stderr } of all) {
      assert.equal(code, 0, stderr);
      const found = JSON.parse(stdout.trim().split('\n').at(-1)!) as Record<string, unknown>;
      assert.equal(found.code, 'DISTRIBUTED', stdout);
      assert.equal(found.kept, true);
    }
  },
);
