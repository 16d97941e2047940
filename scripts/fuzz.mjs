// `npm run fuzz [-- TARGET … --count 10000 --seed N --only NUMBER]`: sets up what is missing, then runs the fuzzers.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { prepare } from './prepare.mjs';
import { main, root } from './tools.mjs';

await main(async () => {
  await prepare();
  const program = join(root, 'dist', 'test', 'fuzz', 'main.js');
  const { status } = spawnSync(process.execPath, [program, ...process.argv.slice(2)], { stdio: 'inherit' });
  process.exitCode = status ?? 1;
});
