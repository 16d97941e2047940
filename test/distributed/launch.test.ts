import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isAlive } from '../../lib/processes/process-alive.js';
import { temporaryFolder } from '../training/support.js';

const PROGRAM = fileURLToPath(new URL('./launch-program.js', import.meta.url));
const WATCH = new URL('../../lib/processes/end-with-parent.js', import.meta.url);

interface Launched {
  readonly child: ChildProcess;
  readonly written: { out: string; err: string };
  readonly ended: Promise<{ code: number | null; signal: string | null }>;
}

/** Launches ranks that run a piece of code, in which `rank` is the number of each. */
async function launch(t: TestContext, ranks: number, code: string, args: string[] = []): Promise<Launched> {
  const script = join(await temporaryFolder(t), 'rank.mjs');
  const head = `import { watchParent } from ${JSON.stringify(WATCH)};\nwatchParent();\nconst rank = Number(process.env.RANK);\n`;
  await writeFile(script, head + code);
  const child = spawn(process.execPath, [PROGRAM, String(ranks), script, ...args], { stdio: 'pipe' });
  const written = { out: '', err: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (written.out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (written.err += text));
  const ended = once(child, 'close').then((how) => {
    const [code, signal] = how as [number | null, string | null];
    return { code, signal };
  });
  return { child, written, ended };
}

/** Waits until the ranks have written so many lines, and gives the numbers that follow a word. */
async function numbersAfter({ written }: Launched, word: string, count: number): Promise<number[]> {
  for (;;) {
    const found = [...(written.out + written.err).matchAll(new RegExp(`${word} (\\d+)`, 'g'))];
    if (found.length >= count) return found.map(([, number]) => Number(number));
    await wait(20);
  }
}

test('each rank finds its place, and says what it says behind its number', async (t) => {
  const run = await launch(
    t,
    3,
    `const { RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT } = process.env;
     console.log(RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT > 0, process.argv[2]);
     console.error('a word');`,
    ['x'],
  );
  assert.deepEqual(await run.ended, { code: 0, signal: null }, run.written.err);
  assert.equal(run.written.out, '0 0 3 3 127.0.0.1 true x\n');
  const lines = run.written.err.trim().split('\n').sort();
  assert.deepEqual(lines, [
    '[rank 1] 1 1 3 3 127.0.0.1 true x',
    '[rank 1] a word',
    '[rank 2] 2 2 3 3 127.0.0.1 true x',
    '[rank 2] a word',
    'a word',
  ]);
});

test('the exit code is that of the rank that ended badly first', async (t) => {
  const run = await launch(
    t,
    3,
    `process.on('SIGTERM', () => process.exit(7));
    if (rank === 2) setInterval(() => {}, 1000); else process.exit([0, 5][rank]);`,
  );
  assert.equal((await run.ended).code, 5);
});

test('a rank that was killed is named, and the others are ended when they do not end', async (t) => {
  const run = await launch(
    t,
    2,
    `process.on('SIGTERM', () => process.exit(9)); console.error('pid', process.pid); setInterval(() => {}, 1000);`,
  );
  const started = performance.now();
  process.kill(Math.max(...(await numbersAfter(run, 'pid', 2))), 'SIGKILL');
  const { code } = await run.ended;
  assert.equal(code, 137);
  assert.match(run.written.err, /^\[rank \d\] was ended by SIGKILL$/m);
  const seconds = (performance.now() - started) / 1000;
  assert.ok(seconds > 0.9, `${seconds} s`); // they had the time to end by themselves
});

test('Ctrl-C reaches every rank once, and a second one ends them', async (t) => {
  const code = `let count = 0;
    process.on('SIGINT', () => { console.error('caught', ++count); if (count === 2) process.exit(130); });
    console.error('pid', process.pid); setInterval(() => {}, 1000);`;
  const run = await launch(t, 2, code);
  await numbersAfter(run, 'pid', 2);
  run.child.kill('SIGINT');
  assert.deepEqual(await numbersAfter(run, 'caught', 2), [1, 1]);
  await wait(200);
  assert.deepEqual(await numbersAfter(run, 'caught', 2), [1, 1]);
  run.child.kill('SIGINT');
  assert.equal((await run.ended).code, 130);
});

test('ranks end when the process that launched them was killed', async (t) => {
  const run = await launch(t, 2, `console.error('pid', process.pid); setInterval(() => {}, 1000);`);
  const pids = await numbersAfter(run, 'pid', 2);
  run.child.kill('SIGKILL');
  await run.ended;
  for (let tries = 0; tries < 1500 && pids.some(isAlive); tries++) await wait(20);
  assert.deepEqual(pids.filter(isAlive), []);
});
