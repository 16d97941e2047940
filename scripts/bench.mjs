// `npm run bench -- NAME [options]`: sets up what is missing, then runs bench/NAME.ts; without a name, lists them.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { prepare } from './prepare.mjs';
import { Failure, filesUnder, main, root } from './tools.mjs';

await main(async () => {
  const [name, ...args] = process.argv.slice(2);
  const names = filesUnder(['bench'], /bench\/[^/]+\.ts$/).map((file) => basename(file, '.ts'));
  if (name === undefined || !names.includes(name)) {
    throw new Failure(
      `${name === undefined ? 'Which benchmark?' : `There is no benchmark ${name}.`} There is: ${names.join(', ')}`,
    );
  }
  await prepare();
  const program = join(root, 'dist', 'bench', `${name}.js`);
  if (!existsSync(program)) throw new Failure(`${program} was not built`);
  const { status } = spawnSync(process.execPath, [program, ...args], { cwd: root, stdio: 'inherit' });
  process.exitCode = status ?? 1;
});
