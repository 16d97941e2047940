// `npm run quickstart [-- --json]`: sets up what is missing, then trains a small encoder on real data.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { prepare } from './prepare.mjs';
import { main, root } from './tools.mjs';

await main(async () => {
  await prepare();
  const program = join(root, 'dist', 'examples', 'quickstart', 'main.js');
  const { status } = spawnSync(process.execPath, [program, ...process.argv.slice(2)], {
    cwd: root,
    stdio: 'inherit',
  });
  process.exitCode = status ?? 1;
});
