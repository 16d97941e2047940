import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { pathToFileURL } from 'node:url';
import { ChildProgram, type NoAnswer } from '../../lib/processes/child-program.js';
import { isAlive } from '../../lib/processes/process-alive.js';
import { temporaryFolder } from '../data/temporary-folder.js';

const library = (name: string) => new URL(`../../lib/${name}.js`, import.meta.url).href;

/** A program that answers a request by evaluating it; `reply` sends an answer. */
async function evaluator(t: TestContext): Promise<URL> {
  const path = join(await temporaryFolder(t), 'program.mjs');
  await writeFile(
    path,
    `import { endWithParent } from ${JSON.stringify(library('processes/end-with-parent'))};
     endWithParent();
     const reply = (reply) => process.send({ kind: 'reply', reply });
     process.on('message', ({ code }) => eval(code));
     process.send({ kind: 'started' });`,
  );
  return pathToFileURL(path);
}

async function isGone(pid: number): Promise<boolean> {
  for (let wait = 0; wait < 600 && isAlive(pid); wait++) await new Promise((next) => setTimeout(next, 50));
  return !isAlive(pid);
}

test('however a child fails, its question is answered by why', async (t) => {
  const program = await evaluator(t);
  const cases: [string, URL, string, NoAnswer['why'], RegExp][] = [
    ['exit', program, 'process.exit(3)', 'ended', /code 3/],
    ['signal', program, 'process.kill(process.pid, "SIGSEGV")', 'ended', /SIGSEGV/],
    ['rejection', program, 'Promise.reject(new RangeError("odd"))', 'ended', /code 1 \(RangeError: odd\)/],
    ['array', program, 'const a = [1]; for (;;) a.push(...a)', 'ended', /ended with/],
    ['loop', program, 'for (;;);', 'silent', /nothing for 1 seconds/],
    ['absent', new URL('absent.js', program), '', 'not started', /Cannot find module/],
  ];
  await Promise.all(
    cases.map(async ([name, url, code, why, message]) => {
      const child = new ChildProgram<{ code: string }, number>(url, undefined, name === 'loop' ? 1 : 60);
      for (let again = 0; again < 2; again++)
        await assert.rejects(child.ask({ code }), { why, message }, name);
      child.end();
    }),
  );
});

test('a signal ends the child in the midst of its work, and so does end()', async (t) => {
  const program = await evaluator(t);
  const controller = new AbortController();
  const children = [controller.signal, undefined].map(
    (signal) => new ChildProgram<{ code: string }, number>(program, signal),
  );
  const ids = await Promise.all(children.map((child) => child.ask({ code: 'reply(process.pid)' })));
  const answers = children.map((child) => child.ask({ code: 'for (;;);' }));
  const refused = answers.map((answer) => assert.rejects(answer, { why: 'stopped' }));
  controller.abort();
  children[1]!.end();
  await Promise.all(refused);
  for (const id of ids) assert.ok(await isGone(id));
});

test('a child neither outlives its parent nor holds it, however either is busy', async (t) => {
  const program = (await evaluator(t)).href;
  const parent = (after: string) => `
    import { ChildProgram } from ${JSON.stringify(library('processes/child-program'))};
    const child = new ChildProgram(new URL(${JSON.stringify(program)}));
    console.log(await child.ask({ code: 'reply(process.pid)' }));
    ${after}`;
  const node = ['--input-type=module', '--eval'];
  // Left alone: the program ends by itself.
  const { status, stdout } = spawnSync(process.execPath, [...node, parent('')], { encoding: 'utf8' });
  assert.equal(status, 0);
  assert.ok(await isGone(Number(stdout)));
  // Killed while the child goes on for ever.
  const killed = spawn(process.execPath, [...node, parent(`child.ask({ code: 'for (;;);' })`)]);
  const [id] = (await killed.stdout.take(1).toArray()) as [Buffer];
  killed.kill('SIGKILL');
  assert.ok(await isGone(Number(id.toString())));
});

test("a debugger's port and what is on the command line are not handed to a child", async (t) => {
  const script = `
    import { ChildProgram } from ${JSON.stringify(library('processes/child-program'))};
    const child = new ChildProgram(new URL(${JSON.stringify((await evaluator(t)).href)}));
    console.log(await child.ask({ code: 'reply([process.execArgv, process.env.NODE_OPTIONS])' }));
    child.end();`;
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--max-old-space-size=300', '--inspect=0', '--input-type=module', '--eval', script],
    { encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '--inspect-port 0 --no-warnings' } },
  );
  assert.equal(status, 0, stderr);
  assert.match(stdout, /\[ '--disable-wasm-trap-handler', '--max-old-space-size=300' \],\s+'--no-warnings'/);
});
